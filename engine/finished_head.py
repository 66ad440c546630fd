"""The head as the renderer draws it: dressed, at rest, with glasses and beards; kept for the next renderer and for
the next process.
"""

import sys
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from engine import atlas, beards, cache, fringe, glasses, hair, hair_shaping, head, lids, rest
from engine.head import ACTION, HEAD_FILE, HEAD_INDEX, Head, Submesh

FROM_FILE = "morphs"
"""Nine tenths of a head's bytes, of which next to none are changed."""


def load(folder: Path) -> Head:
    """The finished head of `data/embedded/character`."""
    found = [(folder / name).stat() for name in (HEAD_FILE, HEAD_INDEX)]
    return _load(folder.resolve(), tuple((each.st_mtime_ns, each.st_size) for each in found))


def _sources(folder: Path) -> list[Path]:
    code = cache.code(sys.modules[__name__], atlas, beards, fringe, glasses, hair, hair_shaping, head, lids, rest)
    return [*code, folder / HEAD_FILE, folder / HEAD_INDEX]


@lru_cache(maxsize=1)
def _load(folder: Path, stamp: tuple[tuple[int, int], ...]) -> Head:
    """`stamp`: when the files were written, and their sizes; others make another head."""
    held = cache.arrays("head", _sources(folder), "", lambda: _packed(_make(folder)))
    with safe_open(folder / HEAD_FILE, framework="numpy") as file:
        morphs = file.get_tensor(FROM_FILE)
    morphs[held["changed"]] = held["changed_morphs"]
    arrays = {FROM_FILE: morphs}
    arrays |= {field.name: held[field.name] for field in fields(Head) if field.name in held}
    numbers = zip(held["part_names"], held["part_numbers"], strict=True)
    parts = tuple(Submesh(str(name), *map(int, row)) for name, row in numbers)
    return Head(**arrays, parts=parts, morph_names=tuple(map(str, held["morphs_by_number"])))


def _make(folder: Path) -> Head:
    bare = lids.closing(rest.at_rest(Head.load(folder)))
    return beards.with_beards(glasses.with_glasses(bare))


def _packed(made: Head) -> dict[str, NDArray]:
    arrays = {field.name: getattr(made, field.name) for field in fields(Head)}
    packed = {name: value for name, value in arrays.items() if isinstance(value, np.ndarray) and name != FROM_FILE}
    changed = [made.morph_index[ACTION + name] for name in lids.BLINKS]
    return packed | {
        "changed": np.array(changed),
        "changed_morphs": made.morphs[changed],
        "part_names": np.array([part.name for part in made.parts]),
        "part_numbers": np.array([list(vars(part).values())[1:] for part in made.parts]),
        "morphs_by_number": np.array(made.morph_names),
    }
