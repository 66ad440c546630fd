"""From a photo to everything that was made of it: data versions, and the models that were trained or scored on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from orchestration.lineage import OnStep, silent
from orchestration.lineage.photo_index import SOURCE, PhotoIndex, TracedPhoto, unless_lost
from orchestration.lineage.resolve import MODEL, LineageTarget, find_all_models
from orchestration.registry.promotion_events import PRODUCTION
from orchestration.storage.erasure_log import Erasure
from orchestration.storage.store import Store
from orchestration.storage.version_index import VersionIndex
from orchestration.storage.versions import CONTINUED, REUSED, Version
from stages.data import tables
from stages.data.feature_cache import digest_of_picture

IDENTITY = "identity_model"
TRAINED, CHOSEN, SCORED, UNUSED = "trained on it", "chosen by it", "only scored on it", "not used"
PAIRS = "verification_pairs.parquet"
EXACT_SETS = ("folder", "people")
"""Kinds of photo sets whose rows are called exactly like their files."""


@dataclass
class ModelUse:
    """What a registered model did with the photos."""

    model: LineageTarget
    how: str
    """TRAINED, CHOSEN (its rows chose between models), SCORED or UNUSED (set aside in quarantine)."""

    @property
    def retrain(self) -> bool:
        """Whether the model knows anything of the photos."""
        return self.how in (TRAINED, CHOSEN)


@dataclass
class PhotoTrace:
    """What was made of some photos."""

    photos: Sequence[TracedPhoto]
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
    uses: list[ModelUse] = field(default_factory=list)
    forgotten: list[Erasure] = field(default_factory=list)

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
                    "in_production": PRODUCTION in use.model.aliases,
                }
                for use in self.uses
            ],
            "forgotten": [{**vars(entry), "erased": len(entry.erased)} for entry in self.forgotten],
        }


def trace(photo_index: PhotoIndex, photos: Sequence[TracedPhoto], progress: OnStep = silent) -> PhotoTrace:
    """Follow photos through every version that was ever recorded. Raises RemoteDown."""
    md5s = {photo.md5 for photo in photos}
    found = PhotoTrace(photos)
    found.forgotten = [entry for entry in photo_index.entries if not md5s.isdisjoint(entry.photos.values())]
    found.sources = [md5 for md5, listed in photo_index.versions.items() if not md5s.isdisjoint(listed.values())]
    newest: dict[tuple[str, str], Version] = {}
    for version in photo_index.version_index.made_from(found.sources):
        newest.setdefault((version.asset, version.md5), version)
    found.descendants = list(newest.values())
    remembered = {md5: rows for entry in found.forgotten for md5, rows in entry.rows.items()}
    official = {md5: paths for entry in found.forgotten for md5, paths in entry.official.items()}
    for number, version in enumerate(found.descendants):
        progress("photos: tables that have them", number, len(found.descendants))
        listed = photo_index.versions.get(version.lineage.get(SOURCE, ""), {})
        paths = {path for path, md5 in listed.items() if md5 in md5s}
        rows = _rows(photo_index.store, version, paths)
        if rows is None and version.md5 in remembered:
            inside = official.get(version.md5, ())
            rows = {path: (split, path in inside) for path, split in remembered[version.md5].items() if path in paths}
        if rows is None:
            found.unread.append(version.md5)
        elif rows:
            found.rows[version.md5] = {path: split for path, (split, _) in rows.items()}
            found.official[version.md5] = [path for path, (_, of_a_protocol) in rows.items() if of_a_protocol]
    found.made_without = {one.md5 for one in found.descendants if _made_without(one, found, photo_index.version_index)}
    models = find_all_models(photo_index.settings)
    found.uses = [ModelUse(model, _how(model, found, photo_index.version_index)) for model in models]
    return found


def pictures_of_others(photo_index: PhotoIndex, version: Version, photos: Sequence[TracedPhoto]) -> set[str]:
    """Digests of the pictures in a version's tables that show none of the photos (`feature_cache`). Raises StoreError,
    RemoteDown.
    """
    from pyarrow import parquet

    listed = photo_index.versions.get(version.lineage.get(SOURCE, ""), {})
    if SOURCE in version.lineage and not listed:
        return set()  # nobody can tell what its rows are called
    md5s = {photo.md5 for photo in photos}
    wanted = _RowIds(version.metadata.get("config"), {path for path, md5 in listed.items() if md5 in md5s})
    found: set[str] = set()
    files = photo_index.store.listing(version.md5)
    for file in (photo_index.store.file(md5) for name, md5 in files.items() if name.endswith(".parquet")):
        if {"id", "image"} <= set(parquet.read_schema(file).names):
            for rows in tables.iterate(file, ("id", "image")):
                others = (row["image"] for row in rows if row["image"] and wanted.path(row["id"]) is None)
                found |= {digest_of_picture(picture) for picture in others}
    return found


def _made_without(version: Version, found: PhotoTrace, version_index: VersionIndex) -> bool:
    if REUSED not in version.metadata:
        return False
    made = next((one for one in version_index.of(version.asset, version.md5) if REUSED not in one.metadata), None)
    return made is not None and {*found.rows, *found.unread}.isdisjoint(made.lineage.values())


def _ancestors(model: LineageTarget, version_index: VersionIndex) -> set[str]:
    """All that a registered model came from, and what it was scored on since: the same content, looked at again."""
    again = version_index.of(MODEL, model.md5) if model.md5 else []
    begun = version_index.started_from(model.ancestors.get(CONTINUED, ""))
    return {*model.ancestors.values(), *(md5 for version in [*again, *begun] for md5 in version.lineage.values())}


def _identity_version(model: LineageTarget, version_index: VersionIndex) -> str:
    """Of the stage's code that made the identity model of a registered one; "" where nothing tells."""
    made = version_index.of(IDENTITY, model.ancestors.get(IDENTITY, ""))
    return made[-1].code.partition("-")[0] if made else ""


def _how(model: LineageTarget, found: PhotoTrace, version_index: VersionIndex) -> str:
    from stages.identity_model import decides

    ancestors, version = _ancestors(model, version_index), _identity_version(model, version_index)
    rows = {
        (split, path in found.official.get(md5, ()))
        for md5 in ancestors
        for path, split in found.rows.get(md5, {}).items()
    }
    splits = {split for split, _ in rows}
    begun = version_index.started_from(model.ancestors.get(CONTINUED, ""))
    unknown = not set(found.unread).isdisjoint(ancestors) or not all(one.lineage for one in begun)
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
    return unless_lost(lambda: _read_rows(store, version, paths), None)


def _read_rows(store: Store, version: Version, paths: Collection[str]) -> dict[str, tuple[str, bool]]:
    from pyarrow import parquet

    found: dict[str, tuple[str, bool]] = {}
    wanted = _RowIds(version.metadata.get("config"), paths)
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
    return found


def _protocols(store: Store, md5: str | None) -> set[str]:
    """The photo sets that have official pairs. Raises StoreError, RemoteDown."""
    from pyarrow import parquet

    return set(parquet.read_table(store.file(md5), columns=["source"])["source"].to_pylist()) if md5 else set()


class _RowIds:
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
