"""From a photo to everything that was made of it: data versions, and the models that were trained or scored on it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from orchestration.config.settings import Settings
from orchestration.lineage.resolve import MODEL, Target, TargetError, find_all_models
from orchestration.storage.erasure_log import Entry, Ledger
from orchestration.storage.store import RemoteDown, Store, StoreError
from orchestration.storage.version_index import Records
from orchestration.storage.versions import REUSED, Version
from stages.data.source_files import identity, is_utf8, printable, walk

SOURCE, IDENTITY = "photos", "identity_model"
TRAINED, CHOSEN, SCORED, UNUSED = "trained on it", "chosen by it", "only scored on it", "not used"
PAIRS = "verification_pairs.parquet"
EXACT_SETS = ("folder", "people")
"""Kinds of photo sets whose rows are called exactly like their files."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Photo:
    """A photo by its bytes."""

    md5: str
    sha256: str
    """Empty when the bytes are not at hand."""
    paths: tuple[str, ...]
    """Every place below data/photos where it ever was seen."""
    here: tuple[str, ...]
    """Those where it is now."""


@dataclass
class Use:
    """What a registered model did with the photos."""

    model: Target
    how: str
    """TRAINED, CHOSEN (its rows chose between models), SCORED or UNUSED (set aside in quarantine)."""

    @property
    def retrain(self) -> bool:
        return self.how in (TRAINED, CHOSEN)


@dataclass
class Trace:
    """What was made of some photos."""

    photos: Sequence[Photo]
    sources: list[str] = field(default_factory=list)
    """md5 of each version of data/photos that had one of them."""
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    """md5 of each version with a table that has rows of them: the row's split by the photo's path."""
    descendants: list[Version] = field(default_factory=list)
    """One record of each version that was made, step by step, from `sources`."""
    official: dict[str, list[str]] = field(default_factory=dict)
    """md5 of each of these versions: the photos that are of a set with official pairs, which decide nothing."""
    unread: list[str] = field(default_factory=list)
    """Versions whose tables are nowhere to be had, so that nobody can tell whether they had rows of them."""
    made_without: set[str] = field(default_factory=set)
    """md5s that were also made of inputs without them, and taken over for inputs with them: they cannot show them."""
    uses: list[Use] = field(default_factory=list)
    forgotten: list[Entry] = field(default_factory=list)

    @property
    def showing(self) -> list[Version]:
        """The versions that may show one of the photos: those with rows, and all that were made from these."""
        having = {*self.rows, *self.unread}
        return [one for one in self.descendants if one.md5 in having or self._follows(one, having)]

    def _follows(self, version: Version, having: set[str]) -> bool:
        return version.md5 not in self.made_without and not having.isdisjoint(version.lineage.values())

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "photos": [vars(photo) for photo in self.photos],
            "photo_versions": self.sources,
            "rows": self.rows,
            "data_versions": [{"asset": one.asset, "character": one.character, "md5": one.md5} for one in self.showing],
            "tables_nobody_can_read": self.unread,
            "models": [
                {
                    **(use.model.model or {}),
                    "character": use.model.character,
                    "md5": use.model.md5,
                    "use": use.how,
                    "retrain": use.retrain,
                    "in_production": in_production(use.model),
                }
                for use in self.uses
            ],
            "forgotten": [{**vars(entry), "erased": len(entry.erased)} for entry in self.forgotten],
        }


def in_production(model: Target) -> bool:
    return "production" in (model.model or {}).get("aliases", ())


@dataclass(frozen=True)
class Album:
    """Every version of data/photos that was ever recorded."""

    settings: Settings
    store: Store
    records: Records
    ledger: Ledger

    @property
    def folder(self) -> Path:
        return self.settings.data / SOURCE

    @cached_property
    def versions(self) -> dict[str, dict[str, str]]:
        """md5 of each photo by its path, for each recorded version whose listing is to be had. Raises RemoteDown."""
        # Some were recorded before sources were kept, or cleaned away: they are left out.
        return self.store.listings(dict.fromkeys(mention.md5 for mention in self.records.mentions(SOURCE)))

    @cached_property
    def entries(self) -> list[Entry]:
        return self.ledger.entries()

    def find(self, word: str, person: bool = False) -> list[Photo]:
        """The photo that `word` names (a file, `person/file`, md5 or sha256), or all of a person's.

        Raises TargetError.
        """
        if not is_utf8(word):
            raise TargetError(
                f"{printable(word)} is not UTF-8, and files under such a name are not read: nothing was made of them. "
                "Remove them by hand, or rename them"
            )
        md5s = self._of_person(word.strip("/")) if person else self._of_photo(word)
        if not md5s:
            wanted = (
                f"a folder's name below data/photos{self._alike(word.strip('/'))}"
                if person
                else "a file, `person/file` below data/photos, or its md5 or sha256"
            )
            raise TargetError(f"no {'person' if person else 'photo'} {printable(word)}: give {wanted}")
        return [self._photo(md5) for md5 in sorted(md5s)]

    def _of_person(self, person: str) -> set[str]:
        def theirs(path: str) -> bool:
            # A photo that lies in no folder is a person of its own.
            return identity(path).startswith(f"{name}/") or ("/" not in path and identity(Path(path).stem) == name)

        name = identity(person)
        known = {md5 for paths in self._known() for path, md5 in paths.items() if theirs(path)}
        return known | {_md5(file) for file in self._files() if theirs(self._path(file))}

    def _alike(self, person: str) -> str:
        """The names that are this one but for case and blanks, in words; "" where there is none."""
        people = {path.split("/")[0] for paths in self._known() for path in paths if "/" in path}
        people |= {self._path(file).split("/")[0] for file in self._files()}
        names = sorted(repr(name) for name in people if _folded(name) == _folded(person))
        return f"; is it {' or '.join(names)}?" if names else ""

    def _of_photo(self, word: str) -> set[str]:
        for file in (Path(word), self.folder / word, self.settings.root / word):
            if file.is_file():
                return {_md5(file)}
        word = word.removeprefix("data/photos/")
        name = identity(word)
        if known := {md5 for paths in self._known() for path, md5 in paths.items() if identity(path) == name}:
            return known
        if found := {_md5(file) for file in self._files() if identity(self._path(file)) == name}:
            return found
        if re.fullmatch(r"[0-9a-f]{32}", word):
            listed = any(word in paths.values() for paths in self._known())
            return {word} if listed or any(_md5(file) == word for file in self._files()) else set()
        if re.fullmatch(r"[0-9a-f]{64}", word):
            remembered = {md5 for entry in self.entries for md5, sha256 in entry.sha256.items() if sha256 == word}
            return remembered or {_md5(file) for file in self._files() if _sha256(file) == word}
        return set()

    def _known(self) -> Iterable[Mapping[str, str]]:
        """Paths and md5s out of every version and of the ledger."""
        yield from self.versions.values()
        yield from (entry.photos for entry in self.entries)

    def _photo(self, md5: str) -> Photo:
        paths = {path: None for listed in self._known() for path, its_md5 in listed.items() if its_md5 == md5}
        sizes = {file.stat().st_size for path in paths if (file := self.folder / path).is_file()}
        # A copy has the same size; only those are read.
        here = [file for file in self._files() if not sizes or file.stat().st_size in sizes]
        here = [file for file in here if _md5(file) == md5]
        sha256 = _sha256(here[0]) if here else next((e.sha256[md5] for e in self.entries if md5 in e.sha256), "")
        now = tuple(sorted(self._path(file) for file in here))
        return Photo(md5, sha256, tuple(sorted({*paths, *now})), now)

    def _files(self) -> list[Path]:
        """Every file of data/photos, what no photo set reads included: a thumbnail shows a person as well."""
        return [entry.path for entry in walk(self.folder, lambda name, file: "") if not entry.why]

    def _path(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()


def trace(album: Album, photos: Sequence[Photo], progress: Progress = lambda what, done, total: None) -> Trace:
    """Follow photos through every version that was ever recorded. Raises RemoteDown."""
    md5s = {photo.md5 for photo in photos}
    found = Trace(photos)
    found.forgotten = [entry for entry in album.entries if not md5s.isdisjoint(entry.photos.values())]
    found.sources = [md5 for md5, listed in album.versions.items() if not md5s.isdisjoint(listed.values())]
    newest: dict[tuple[str, str], Version] = {}
    for version in album.records.made_from(found.sources):
        newest.setdefault((version.asset, version.md5), version)
    found.descendants = list(newest.values())
    remembered = {md5: rows for entry in found.forgotten for md5, rows in entry.rows.items()}
    official = {md5: paths for entry in found.forgotten for md5, paths in entry.official.items()}
    for number, version in enumerate(found.descendants):
        progress("photos: tables that have them", number, len(found.descendants))
        listed = album.versions.get(version.lineage.get(SOURCE, ""), {})
        paths = {path for path, md5 in listed.items() if md5 in md5s}
        rows = _rows(album.store, version, paths)
        if rows is None and version.md5 in remembered:
            inside = official.get(version.md5, ())
            rows = {path: (split, path in inside) for path, split in remembered[version.md5].items() if path in paths}
        if rows is None:
            found.unread.append(version.md5)
        elif rows:
            found.rows[version.md5] = {path: split for path, (split, _) in rows.items()}
            found.official[version.md5] = [path for path, (_, of_a_protocol) in rows.items() if of_a_protocol]
    found.made_without = {one.md5 for one in found.descendants if _made_without(one, found, album.records)}
    models = find_all_models(album.settings)
    found.uses = [Use(model, _how(model, found, album.records)) for model in models]
    return found


def _made_without(version: Version, found: Trace, records: Records) -> bool:
    if REUSED not in version.metadata:
        return False
    made = next((one for one in records.of(version.asset, version.md5) if REUSED not in one.metadata), None)
    return made is not None and {*found.rows, *found.unread}.isdisjoint(made.lineage.values())


def _ancestors(model: Target, records: Records) -> set[str]:
    """All that a registered model came from, and what it was scored on since: the same content, looked at again."""
    again = records.of(MODEL, model.md5) if model.md5 else []
    return {*model.ancestors.values(), *(md5 for version in again for md5 in version.lineage.values())}


def _identity_version(model: Target, records: Records) -> str:
    """Of the stage's code that made the identity model of a registered one; "" where nothing tells."""
    made = records.of(IDENTITY, model.ancestors.get(IDENTITY, ""))
    return made[-1].code.partition("-")[0] if made else ""


def _how(model: Target, found: Trace, records: Records) -> str:
    from stages.identity_model import decides

    ancestors, version = _ancestors(model, records), _identity_version(model, records)
    rows = {
        (split, path in found.official.get(md5, ()))
        for md5 in ancestors
        for path, split in found.rows.get(md5, {}).items()
    }
    splits = {split for split, _ in rows}
    unknown = not set(found.unread).isdisjoint(ancestors)
    if "train" in splits or "" in splits or unknown:
        return TRAINED
    # Other networks are chosen by validation rows.
    if "val" in splits or any(decides(SOURCE, split, official, version) for split, official in rows):
        return CHOSEN
    return SCORED if splits else UNUSED


def _rows(store: Store, version: Version, paths: Collection[str]) -> dict[str, tuple[str, bool]] | None:
    """Of each photo's row the split ("" where the table has none), and whether its set has official pairs; None when a
    table is nowhere to be had.
    """
    from pyarrow import parquet

    found: dict[str, tuple[str, bool]] = {}
    wanted = _Ids(version.metadata.get("config"), paths)
    try:
        files = store.listing(version.md5)
        protocols = _protocols(store, files.get(PAIRS))
        for file in (store.file(md5) for name, md5 in files.items() if name.endswith(".parquet")):
            names = parquet.read_schema(file).names
            if "id" not in names or "image" not in names:
                continue
            columns = [name for name in ("id", "source", "split") if name in names]
            inside = [("source", "in", sorted(wanted.sources))] if "source" in names else None
            for row in parquet.read_table(file, columns=columns, filters=inside).to_pylist():
                if path := wanted.path(row["id"]):
                    found[path] = (str(row.get("split") or ""), row.get("source") in protocols)
    except RemoteDown:
        raise
    except StoreError:
        return None
    return found


def _protocols(store: Store, md5: str | None) -> set[str]:
    """The photo sets that have official pairs. Raises StoreError."""
    from pyarrow import parquet

    return set(parquet.read_table(store.file(md5), columns=["source"])["source"].to_pylist()) if md5 else set()


class _Ids:
    """What the rows of some photos are called: their set's name, a slash and their place in it."""

    def __init__(self, config: Any, paths: Collection[str]) -> None:
        sets = config.get("photo_sets") if isinstance(config, Mapping) else None
        sets = sets or [{"name": SOURCE, "path": ".", "kind": "folder"}]
        self.sources = {str(one["name"]) for one in sets}
        self.exact: dict[str, str] = {}
        self.places: list[tuple[str, str, str]] = []
        for one in sets:
            for path in paths:
                inside = _inside(path, str(one["path"]))
                if inside is None:
                    continue
                if one.get("kind", "folder") in EXACT_SETS:
                    self.exact[f"{one['name']}/{inside}"] = path
                else:
                    self.places.append((f"{one['name']}/", inside, path))

    def path(self, row: str) -> str | None:
        """The path of the photo that this row is of, None where it is of another."""
        if row in self.exact:
            return self.exact[row]
        for prefix, inside, path in self.places:
            # Published sets leave out folders that all their photos share, and some of them the suffix.
            rest = row.removeprefix(prefix)
            whole = PurePosixPath(inside)
            if row.startswith(prefix) and any(
                f"/{place}".endswith(f"/{rest}") for place in (whole.as_posix(), whole.with_suffix("").as_posix())
            ):
                return path
        return None


def _inside(path: str, folder: str) -> str | None:
    if folder in (".", ""):
        return path
    return path.removeprefix(f"{folder}/") if path.startswith(f"{folder}/") else None


def _folded(name: str) -> str:
    return " ".join(identity(name).casefold().split())


def _md5(file: Path) -> str:
    return _digest(file, "md5")


def _sha256(file: Path) -> str:
    return _digest(file, "sha256")


def _digest(file: Path, kind: str) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, kind).hexdigest()
