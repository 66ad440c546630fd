"""Verification sets as InsightFace's toolkits publish them: LFW, CFP-FF, CFP-FP, AgeDB-30, CALFW, CPLFW, VGG2-FP.

A `.bin` file is a pickle of (encoded pictures, whether each two that follow each other show one person), 112x112 crops
that are aligned already. A pickle can run any code, so this reader knows only lists, tuples, bytes, numbers and what a
flat numpy array is made of; anything else is an error that names it. No object of numpy is made from the file.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .base import DatasetPhoto, PhotoSet, PhotoSetError, VerificationPair

FOLDS = 10
# Pairs in the published files, by the file's name.
PAIRS = {"lfw": 6000, "cfp_ff": 7000, "cfp_fp": 7000, "agedb_30": 6000, "calfw": 6000, "cplfw": 6000, "vgg2_fp": 5000}
NUMBERS = {"b1": np.bool_, "i1": np.int8, "u1": np.uint8, "i4": np.int32, "i8": np.int64}  # plain numpy types


class VerificationBinSet(PhotoSet, frozen=True):
    """One `.bin` file; `path` names it. Who its people are is not stated: photos that a pair calls one person, or that
    are the same bytes, are one person here, others are not known to be two.
    """

    kind: Literal["verification_bin"] = "verification_bin"
    split: Literal["test"] | None = None
    """Always test: a verification set is never trained on. `limit` counts pairs here."""

    def photos(self, source: Path, others: Collection[Path] = ()) -> Iterator[DatasetPhoto]:
        pictures, same = self._read(source)
        first_of, chosen = _first_of(pictures), self._chosen_pairs(len(same))
        people = _people(first_of, same)
        for number in sorted({first_of[2 * pair + side] for pair in chosen for side in (0, 1)}):
            person = f"{self.name}/{people[number]:05d}"
            yield DatasetPhoto(self._id(number), self.name, person, "test", pictures[number], focus="centre")

    def pairs(self, source: Path) -> Iterator[VerificationPair]:
        pictures, same = self._read(source)
        first_of = _first_of(pictures)
        folds = np.concatenate([np.full(len(part), k) for k, part in enumerate(np.array_split(same, FOLDS))])
        for pair in self._chosen_pairs(len(same)):
            first, second = first_of[2 * pair], first_of[2 * pair + 1]
            yield VerificationPair(self.name, int(folds[pair]), self._id(first), self._id(second), same[pair])

    def chosen(self, source: Path, others: Collection[Path] = ()) -> set[str] | None:
        return None

    def selected_pairs(self, source: Path) -> Iterator[VerificationPair]:
        return self.pairs(source)

    def _chosen_pairs(self, count: int) -> list[int]:
        """The pairs that the limit leaves, evenly spread over the file so that all folds and both kinds are there."""
        limit = min(self.limit or count, count)
        return [int((number + 0.5) * count / limit) for number in range(limit)]

    def _id(self, number: int) -> str:
        return f"{self.name}/{number:05d}"

    def _read(self, source: Path) -> tuple[list[bytes], list[bool]]:
        path = source / self.path
        if not path.is_file():
            raise self.error(f"no file {path}")
        try:
            pictures, same = read(path)
        except PhotoSetError as error:
            raise self.error(f"{path.name}: {error}") from error
        if path.stem in PAIRS:
            self.require(f"pairs in {path.name}", len(same), PAIRS[path.stem])
        return pictures, same


def read(path: Path) -> tuple[list[bytes], list[bool]]:
    """The encoded pictures and, for each two of them, whether they show one person. Raises PhotoSetError."""
    try:
        content = _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except PhotoSetError:
        raise
    except Exception as error:  # a damaged pickle can make the machine inside pickle raise nearly anything
        raise PhotoSetError(f"this is no readable pickle ({type(error).__name__}: {error})") from error
    if not (isinstance(content, tuple | list) and len(content) == 2):
        raise PhotoSetError("expected (encoded pictures, booleans)")
    pictures, same = (_items(part) for part in content)
    if len(pictures) != 2 * len(same) or not same:
        raise PhotoSetError(f"{len(pictures):,} pictures for {len(same):,} pairs; expected two pictures a pair")
    return [_encoded(picture) for picture in pictures], [_truth(value) for value in same]


class _Array:
    """What is known of a pickled numpy array: its flat values."""

    def __init__(self) -> None:
        self.values: NDArray = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, _, raw = state
        self.fill(raw, kind, shape)

    def fill(self, raw: Any, kind: Any, shape: Any) -> _Array:
        values = np.frombuffer(_as_bytes(raw), _type_of(kind))
        if tuple(shape) != (len(values),):
            raise PhotoSetError(f"an array of shape {tuple(shape)} with {len(values)} values; expected a flat one")
        self.values = values
        return self


class _Kind:
    """A numpy dtype that is one of the plain ones."""

    def __init__(self, code: str) -> None:
        if code not in NUMBERS:
            raise PhotoSetError(f"numpy dtype {code!r} is not admitted; expected {', '.join(NUMBERS)}")
        self.code = code

    def __setstate__(self, state: Any) -> None:
        if _text(state[1]) == ">":
            raise PhotoSetError("a big-endian numpy dtype is not admitted")
        if any(part is not None for part in state[2:5]):
            raise PhotoSetError("a structured numpy dtype is not admitted")


class _Unpickler(pickle.Unpickler):
    """Admits what a list of encoded pictures is made of, under the names that old and new numpy give it."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy._core", "numpy.core")
        # Made anew each time: what a pickle sets on one of these ends with the pickle.
        admitted: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy.core.multiarray", "_reconstruct"): lambda kind, shape, code: _Array(),
            ("numpy.core.multiarray", "scalar"): lambda kind, raw: np.frombuffer(_as_bytes(raw), _type_of(kind))[0],
            ("numpy.core.numeric", "_frombuffer"): lambda raw, kind, shape, *_: _Array().fill(raw, kind, shape),
            ("numpy", "ndarray"): lambda *_: _Array(),
            ("numpy", "dtype"): lambda code, *_: _Kind(_text(code)),
            ("_codecs", "encode"): lambda text, encoding: _latin1(text, encoding),  # Python 3's bytes in protocol 2
        }
        if (module, name) not in admitted:
            raise PhotoSetError(
                f"the pickle asks for {module}.{name}, which a list of pictures does not need: it is refused"
            )
        return admitted[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise PhotoSetError("the pickle refers to objects outside it: it is refused")


def _latin1(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or _text(encoding) != "latin1":
        raise PhotoSetError("the pickle asks for another encoding than latin1: it is refused")
    return text.encode("latin1")


def _text(value: Any) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("latin1")
    if not isinstance(value, bytes | bytearray):
        raise PhotoSetError(f"an array of {type(value).__name__} is not admitted")
    return bytes(value)


def _type_of(kind: Any) -> type:
    if not isinstance(kind, _Kind):
        raise PhotoSetError("an array without a plain dtype is not admitted")
    return NUMBERS[kind.code]


def _items(part: Any) -> list[Any]:
    if isinstance(part, _Array):
        return part.values.tolist()
    if not isinstance(part, list | tuple):
        raise PhotoSetError(f"expected a list, found {type(part).__name__}")
    return list(part)


def _encoded(picture: Any) -> bytes:
    if isinstance(picture, _Array) and picture.values.dtype == np.uint8:
        return picture.values.tobytes()
    if isinstance(picture, bytes | bytearray):
        return bytes(picture)
    raise PhotoSetError(f"expected an encoded picture (bytes), found {type(picture).__name__}")


def _truth(value: Any) -> bool:
    if isinstance(value, bool | int | np.bool_ | np.integer) and value in (0, 1):
        return bool(value)
    raise PhotoSetError(f"expected True or False for a pair, found {value!r:.40}")


def _first_of(pictures: list[bytes]) -> list[int]:
    """For each picture the first one with the same bytes: most photos occur in several pairs."""
    known: dict[bytes, int] = {}
    return [known.setdefault(hashlib.sha256(data).digest(), number) for number, data in enumerate(pictures)]


def _people(first_of: list[int], same: list[bool]) -> NDArray:
    """For each picture the first picture of its person, as far as the pairs tell: [len(first_of)] int."""
    count = len(first_of)
    joined = [(first_of[2 * pair], first_of[2 * pair + 1]) for pair, one in enumerate(same) if one]
    rows, columns = np.array([*joined, *enumerate(first_of)]).T
    _, group = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), (count, count)), directed=False)
    _, first = np.unique(group, return_index=True)
    return first[group]
