"""`likeness forget`: a photo's bytes, and every picture and table that holds its pixels, are erased wherever they lie.

What holds them is found, not assumed: listings of data/photos name the photo by md5, tables have its row, and every
version that was made from such a table may show it. Weights are left: they hold no picture, but those that were trained
on it are named to be retrained. What does not show it is left too, also where it has the same bytes as a file of the
person's, and a registered model in use never loses a file. A plan is in the ledger before the first byte goes, so a
command that was killed is finished by the same command, and another machine's copies go when it is run there.
"""

from __future__ import annotations

import re
import shutil
import socket
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.instance import RUNLESS_RUN_ID

from orchestration.checks.report import SHEET
from orchestration.config.catalog import SOURCES
from orchestration.config.settings import Settings
from orchestration.lineage.photos import SOURCE, PhotoIndex, TracedPhoto, PhotoTrace, trace
from orchestration.lineage.prune import stats
from orchestration.lineage.resolve import MODEL
from orchestration.registry.aliases import user
from orchestration.storage import erasure_log as ledgers
from orchestration.storage import versions
from orchestration.storage.erasure_log import KEY, Erasure
from orchestration.storage.store import RemoteDown, Store, StoreError, pointed
from orchestration.storage.tracking import Tracking
from orchestration.storage.versions import Version

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".html")
"""Files that show faces, made small and joined: whose, nobody can read out of them again."""
WEIGHTS = (".safetensors", ".json")
"""Files that hold no pixels."""
EMPTY = "d41d8cd98f00b204e9800998ecf8427e"
"""md5 of no bytes."""
SHORTEST_PICTURE = 64
"""Bytes; a file that is shorter can hold no face, whatever its first bytes say."""
FEW = 4
"""Names that are shown of many."""
ABLATIONS = "likeness-ablations"
NOT_ERASED = (
    "weights of models that were trained on it: retrain them (listed above)",
    "what other machines keep in their own cache: run the same command on each of them",
    "backups, and older versions of objects where the remote keeps them (S3 versioning)",
    "its name, in listings of data/photos, in quarantine tables' versions and in the ledger",
)

Progress = Callable[[str, int, int], None]


class ForgetError(Exception):
    """What was asked for would break a model that is in use."""


@dataclass
class Plan:
    """Everything that `forget` will do, before it does it."""

    trace: PhotoTrace
    photos: list[Path] = field(default_factory=list)
    """Files in data/photos."""
    objects: dict[str, str] = field(default_factory=dict)
    """Files in cache and remote by md5, and where they belong: `<asset> <md5>/<file>`."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of those that are still kept somewhere."""
    spared: dict[str, str] = field(default_factory=dict)
    """Files of the photos' that stay in cache and remote, since others need the same bytes: which, by md5."""
    local: list[Path] = field(default_factory=list)
    """Files and folders of this machine's: working copies, computed features, checkpoints, ablations."""
    pictures: list[tuple[Version, tuple[str, ...]]] = field(default_factory=list)
    """Versions whose record in Dagster and whose MLflow run show pictures, and the names of these."""
    yours: list[Path] = field(default_factory=list)
    """Characters that were created from one of them; not the pipeline's, so left alone."""
    unfinished: Erasure | None = None

    @property
    def names(self) -> list[str]:
        return sorted({path for photo in self.trace.photos for path in photo.paths})

    @property
    def nothing_left(self) -> bool:
        return not (self.photos or self.sizes or self.local or self.unfinished)

    def groups(self) -> Iterator[tuple[str, int, int]]:
        """What goes, where from, with numbers of files and bytes."""
        if self.photos:
            yield f"data/{SOURCE}: {self._few(self.names)}", len(self.photos), sum(map(_size, self.photos))
        stored: dict[str, list[tuple[str, int]]] = {}
        for md5, size in self.sizes.items():
            version, path = _split(self.objects[md5])
            stored.setdefault(version, []).append((path, size))
        for version, files in sorted(stored.items()):
            names = self._few(sorted(path for path, _ in files))
            yield f"cache and remote, {version}: {names}", len(files), sum(size for _, size in files)
        kept: dict[str, list[Path]] = {}
        for path in self.local:
            kept.setdefault(str(path.parent), []).append(path)
        for folder, paths in sorted(kept.items()):
            yield f"{folder}: {self._few([path.name for path in paths])}", len(paths), sum(map(_size, paths))
        for version, names in self.pictures:
            yield f"Dagster and MLflow, {version.asset} {version.md5[:12]}: {self._few(names)}", len(names), 0

    @staticmethod
    def _few(names: Sequence[str]) -> str:
        return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            **self.trace.document(),
            "delete": [str(path) for path in self.photos],
            "erase": [{"md5": md5, "file": self.objects[md5], "bytes": size} for md5, size in self.sizes.items()],
            "erase_here": [str(path) for path in self.local],
            "spared": self.spared,
            "retrain": [retrain_command(use.model.character) for use in self.trace.uses if use.retrain],
            "not_erased": [*NOT_ERASED, *(f"{path}: yours, made from it" for path in self.yours)],
        }


@dataclass(frozen=True)
class Eraser:
    """One project's stores, for a plan and what follows it."""

    settings: Settings
    instance: dg.DagsterInstance
    photo_index: PhotoIndex

    @property
    def store(self) -> Store:
        return self.photo_index.store

    def plan(
        self, photos: Sequence[TracedPhoto], person: str = "", progress: Progress = lambda what, done, total: None
    ) -> Plan:
        """Look everywhere; nothing is changed. With `person`, a file of hers that is no picture goes from her folder
        alone: who has the same bytes keeps them. Raises RemoteDown, ForgetError.
        """
        pictures = self._pictures(photos)
        others = {photo.md5: self._of_others(photo, person) for photo in photos if photo.md5 not in pictures}
        photos = [_without(photo, others.get(photo.md5, ())) for photo in photos]
        found = Plan(trace(self.photo_index, photos, progress))
        entries = found.trace.forgotten
        found.unfinished = next((entry for entry in entries if not entry.done), None)
        found.photos = [self.photo_index.folder / path for photo in photos for path in photo.here]
        needed = self._untouched(found.trace)
        needed |= {md5: f"{SOURCE}: {', '.join(paths)}" for md5, paths in others.items() if paths}
        objects = {md5: where for entry in entries for md5, where in entry.erased.items()}
        objects |= {photo.md5: f"{SOURCE}: {', '.join(photo.paths)}" for photo in photos}
        showing = found.trace.showing
        for number, version in enumerate(showing):
            progress("files that show them", number, len(showing))
            shown = {}
            for path, md5 in self._listing(version.md5).items():
                where = f"{version.asset} {version.md5}/{path}"
                if md5 not in needed and self._shows(version, path, md5, found.trace, pictures):
                    shown[path] = md5
                    objects[md5] = where
                else:
                    needed.setdefault(md5, where)
            if names := tuple(sorted(path for path in shown if path.endswith(PICTURES))):
                found.pictures.append((version, names))
        found.objects = {md5: where for md5, where in objects.items() if md5 not in needed}
        found.spared = {photo.md5: needed[photo.md5] for photo in photos if photo.md5 in needed}
        self._require_whole(found)
        found.sizes = _kept(self.store, found.objects)
        found.local = [*self._copies(found)]
        if showing or pictures:
            found.local += self._computed(found)
        found.yours = [*self._created_from(photos)]
        return found

    def carry_out(self, plan: Plan, why: str, progress: Progress = lambda what, done, total: None) -> Erasure:
        """Do it, and say so in the ledger before and after. No run may be at work. Raises RemoteDown, OSError."""
        entry = self.photo_index.erasure_log.write(self._entry(plan, why))
        self.photo_index.erasure_log.copy_to(self.settings.home)
        steps: list[tuple[str, Callable[[], object]]] = [
            ("data/photos", lambda: self._delete_photos(plan)),
            ("working copies", lambda: [_delete(path) for path in plan.local]),
            ("Dagster's pages", lambda: self._blank_records(plan)),
            ("MLflow's files", lambda: self._erase_tracked(plan)),
            ("cache and remote", lambda: self.store.remove(set(plan.objects))),
            ("what is left of data/photos", self._observe),
        ]
        for number, (what, step) in enumerate(steps):
            progress(f"erase: {what}", number, len(steps))
            step()
        done = self.photo_index.erasure_log.write(replace(entry, done=True))
        self.photo_index.erasure_log.copy_to(self.settings.home)
        return done

    # --- planning

    def _untouched(self, found: PhotoTrace) -> dict[str, str]:
        """Where else each file is, by its md5: in a version, of any asset or source, that shows none of the photos.

        What has no bytes is nobody's picture and everybody's file.
        """
        touched = {*found.sources, *(version.md5 for version in found.showing)}
        others = {ref.md5: ref.asset for ref in self.photo_index.version_index.refs() if ref.asset != KEY}
        others |= {md5: name for name, md5 in pointed(self.settings.root).items()}
        others |= {md5: asset for use in found.uses for asset, md5 in use.model.versions.items()}
        needed = {EMPTY: "empty files"}
        for md5, files in self.store.listings(others.keys() - touched).items():
            # data/ as a whole has the photos in it.
            inside = {path: oid for path, oid in files.items() if not path.startswith(f"{SOURCE}/")}
            needed |= {oid: f"{others[md5]} {md5}/{path}" for path, oid in inside.items()}
        return needed

    def _pictures(self, photos: Sequence[TracedPhoto]) -> dict[str, bytes]:
        """The bytes of those photos that are pictures, by md5: what lies in a person's folder may be anything."""
        found = {}
        for photo in photos:
            try:
                content = self.store.file(photo.md5).read_bytes()
            except RemoteDown:
                raise
            except StoreError:
                if not photo.here:
                    continue
                content = (self.photo_index.folder / photo.here[0]).read_bytes()
            if is_picture(content):
                found[photo.md5] = content
        return found

    def _of_others(self, photo: TracedPhoto, person: str) -> tuple[str, ...]:
        """Where this very content lies now below the folders of others, where a person was asked for."""
        return tuple(path for path in photo.here if person and not path.startswith(f"{person}/"))

    def _require_whole(self, found: Plan) -> None:
        """Raises ForgetError where a registered model that is in use would lose a file of its package."""
        for use in found.trace.uses:
            about = use.model.model or {}
            names = about["aliases"]
            lost = [path for path, md5 in self._listing(use.model.md5).items() if md5 in found.objects]
            if names and lost:
                raise ForgetError(
                    f"{about['name']} version {about['version']} ({', '.join(names)}) has it in its package "
                    f"({', '.join(lost[:3])}), and would not load any more: nothing was erased. Take the photo out of "
                    "data/photos, train and promote a version without it, delete that version in MLflow, and call "
                    "this command again"
                )

    def _listing(self, md5: str) -> dict[str, str]:
        """A version's files; none where its listing is nowhere to be had. Raises RemoteDown."""
        try:
            return self.store.listing(md5)
        except RemoteDown:
            raise
        except StoreError:
            return {}

    def _shows(self, version: Version, path: str, md5: str, found: PhotoTrace, pictures: Mapping[str, bytes]) -> bool:
        """Whether a file of a version may hold pixels of the photos."""
        suffix = Path(path).suffix.lower()
        if suffix in PICTURES:
            return True
        if suffix in WEIGHTS:
            return False
        if suffix == ".parquet":
            return version.md5 in found.rows and self._has_pictures(md5)
        return md5 in pictures or self._contains(md5, pictures)

    def _has_pictures(self, md5: str) -> bool:
        from pyarrow import parquet

        try:
            return "image" in parquet.read_schema(self.store.file(md5)).names
        except RemoteDown:
            raise
        except StoreError:
            return False

    def _contains(self, md5: str, pictures: Mapping[str, bytes]) -> bool:
        """Whether a file of a kind that nobody knows has a photo's bytes in it, as they are."""
        try:
            content = self.store.file(md5).read_bytes()
        except RemoteDown:
            raise
        except StoreError:
            return False
        return any(picture in content for picture in pictures.values())

    def _computed(self, found: Plan) -> Iterator[Path]:
        """What was computed from photos and is no version yet: of whom, nobody can tell."""
        home, root = self.settings.home, self.settings.root
        yield from (path for path in (self.settings.cache / "features").glob("*") if path.is_file())
        yield from self._checkpoints()
        yield from (root / "artifacts").rglob(".*.partial")
        yield from (home / "inputs").glob(".*.partial")
        yield from self._ablations(found.trace)[0]

    def _copies(self, found: Plan) -> Iterator[Path]:
        """Working copies below artifacts/."""
        for name, md5 in sorted(pointed(self.settings.root).items()):
            if name == "data":
                continue
            files = self._listing(md5)
            folder = self.settings.root / name
            yield from (
                folder / path for path, oid in files.items() if oid in found.objects and (folder / path).exists()
            )

    def _checkpoints(self) -> Iterator[Path]:
        """Trainings that were interrupted, but for those of assets that are known not to see photos."""
        for folder in self.settings.checkpoints.glob("*/*"):
            asset = next((name for name in self._assets() if folder.parent.name.split("-")[0] == name), None)
            newest = self.photo_index.version_index.refs(asset)[:1] if asset else []
            versions = self.photo_index.version_index.versions(newest)
            if not versions or SOURCE in versions[0].lineage:
                yield folder

    def _assets(self) -> set[str]:
        return {ref.asset for ref in self.photo_index.version_index.refs()} - set(SOURCES)

    def _ablations(self, found: PhotoTrace) -> tuple[list[Path], list[str]]:
        """Folders of `likeness ablate` that were made from versions that may show the photos, and their MLflow runs."""
        client = Tracking.of(self.settings).client()
        experiment = client.get_experiment_by_name(ABLATIONS)
        runs = list(client.search_runs([experiment.experiment_id], max_results=1000)) if experiment else []
        keys, touched = {version.md5 for version in found.showing}, []
        changed = True
        while changed:
            changed = False
            for run in [run for run in runs if run.info.run_id not in touched]:
                tags = run.data.tags
                if any(tags[name] in keys for name in tags if name.startswith("input.")):
                    touched.append(run.info.run_id)
                    keys.add(tags.get("output.key", run.info.run_id))
                    changed = True
        folders = [path for key in sorted(keys) if (path := self.settings.home / "ablations" / key).is_dir()]
        return folders, touched

    def _created_from(self, photos: Sequence[TracedPhoto]) -> Iterator[Path]:
        sha256 = [photo.sha256 for photo in photos if photo.sha256]
        for document in (self.settings.root / "out").rglob("character.json"):
            text = document.read_text(errors="ignore")
            if any(digest in text for digest in sha256):
                yield document.parent

    # --- carrying out

    def _entry(self, plan: Plan, why: str) -> Erasure:
        before, photos = plan.unfinished, plan.trace.photos
        return Erasure(
            before.id if before else uuid.uuid4().hex,
            {path: photo.md5 for photo in photos for path in photo.paths},
            {photo.md5: photo.sha256 for photo in photos if photo.sha256},
            before.who if before else f"{user()}@{socket.gethostname()}",
            before.when if before else ledgers.now(),
            why or (before.why if before else ""),
            plan.trace.rows,
            plan.objects,
            official=plan.trace.official,
        )

    def _delete_photos(self, plan: Plan) -> None:
        for path in plan.photos:
            path.unlink(missing_ok=True)
            if path.parent != self.photo_index.folder and not any(path.parent.iterdir()):
                path.parent.rmdir()

    def _blank_records(self, plan: Plan) -> None:
        """Take the pictures out of Dagster's version_index: no public call changes an event."""
        storage = self.photo_index.version_index.storage
        stems = {version.md5: {Path(name).stem for name in names} for version, names in plan.pictures}
        for version in plan.trace.showing:
            # A registered model shows pictures of its scorecard.
            named = None if version.asset == MODEL else stems.get(version.md5, set()) | {SHEET}
            blank_pictures(storage, version, named)
        for md5 in plan.trace.sources:
            for version in self.photo_index.version_index.of(SOURCE, md5):
                blank_pictures(storage, version, None)

    def _erase_tracked(self, plan: Plan) -> None:
        tracking = Tracking.of(self.settings)
        for version, names in plan.pictures:
            for record in self.photo_index.version_index.of(version.asset, version.md5):
                if run_id := record.metadata.get("mlflow_run_id"):
                    erase_artifacts(tracking, str(run_id), names)
        for run_id in self._ablations(plan.trace)[1]:
            erase_artifacts(tracking, run_id, None)

    def _observe(self) -> None:
        """The photos are other ones now; what depends on them is made again by the next run."""
        if not self.photo_index.folder.is_dir():
            return
        versions.observe(self.instance, SOURCE, self.store.keep(self.photo_index.folder))
        if (self.settings.root / "data.dvc").exists():
            self.store.add(self.settings.data)


def _without(photo: TracedPhoto, places: Collection[str]) -> TracedPhoto:
    """The photo without those places, which are another's."""
    if not places:
        return photo
    paths, here = (tuple(path for path in had if path not in places) for had in (photo.paths, photo.here))
    return replace(photo, paths=paths, here=here)


def retrain_command(character: str | None) -> str:
    return f"likeness run --character {character}" if character else "likeness run"


def is_picture(content: bytes) -> bool:
    """Whether the bytes begin as a picture does that could be a photo; it need not be whole."""
    from PIL import Image

    from models.images import known_formats

    Image.init()
    accepts = [Image.OPEN[name][1] for name in known_formats() if name in Image.OPEN]
    return len(content) >= SHORTEST_PICTURE and any(accept and accept(content[:16]) for accept in accepts)


def _kept(store: Store, objects: Mapping[str, str]) -> dict[str, int]:
    """Bytes of those objects that the cache or the remote still has."""
    sizes: dict[str, int] = {}
    for place in store.held().values():
        sizes |= {md5: place[md5] for md5 in objects if md5 in place}
    return sizes


def _split(where: str) -> tuple[str, str]:
    """Version and path of `<asset> <md5>/<path>`; the source and the places of a photo."""
    if where.startswith(f"{SOURCE}: "):
        return SOURCE, where.removeprefix(f"{SOURCE}: ")
    version, _, path = where.partition("/")
    asset, _, md5 = version.partition(" ")
    return f"{asset} {md5[:12]}", path


def _size(path: Path) -> int:
    return sum(about.st_size for about in stats([path, *path.rglob("*")], files=True))


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def erase_artifacts(tracking: Tracking, run_id: str, names: Collection[str] | None) -> None:
    """Delete files at the top of an MLflow run, all its pictures where no names are given.

    A run that is gone has none.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    mlflow.set_tracking_uri(tracking.uri)
    try:
        repository = get_artifact_repository(str(tracking.client().get_run(run_id).info.artifact_uri))
        there = [file.path for file in repository.list_artifacts()]
    except MlflowException:
        return
    for path in there:
        if path in names if names is not None else path.endswith(PICTURES):
            repository.delete_artifacts(path)


def blank_pictures(storage: Any, version: Version, names: Collection[str] | None) -> None:
    """Replace pictures of these names, or all, in what Dagster wrote about a version's run, asset and checks."""
    import sqlalchemy
    from dagster._core.storage.event_log.schema import (
        AssetCheckExecutionsTable,
        AssetKeyTable,
        SqlEventLogStorageTable,
    )

    key = dg.AssetKey(version.asset).to_string()
    named = r"[^\]]*" if names is None else "|".join(map(re.escape, sorted(names)))
    # Base64 has no character that JSON escapes, so the text of an event can be changed as it is.
    picture = re.compile(rf"!\[({named})\]\(data:image/[^)]*\)")

    def blank(connection: Any, table: Any, column: Any, where: Any) -> None:
        for at, text in connection.execute(sqlalchemy.select(table.c.id, column).where(where)).fetchall():
            changed = picture.sub(r"\1: erased, because a photo was forgotten", text or "")
            if changed != text:
                connection.execute(table.update().where(table.c.id == at).values({column.name: changed}))

    events = SqlEventLogStorageTable
    own = sqlalchemy.and_(
        # A check that was judged again later has no run.
        events.c.run_id.in_([version.run_id, RUNLESS_RUN_ID]),
        sqlalchemy.or_(events.c.asset_key == key, events.c.step_key == version.asset),
    )
    runs = (version.run_id, RUNLESS_RUN_ID)
    for connect in (storage.index_connection, *(partial(storage.run_connection, run_id) for run_id in runs)):
        with connect() as connection:
            if connection.dialect.name == "sqlite":
                # What is overwritten does not stay in the file's free pages.
                connection.execute(sqlalchemy.text("PRAGMA secure_delete = ON"))
            blank(connection, events, events.c.event, own)
    with storage.index_connection() as connection:
        for table, column in (
            (AssetKeyTable, AssetKeyTable.c.last_materialization),
            (AssetCheckExecutionsTable, AssetCheckExecutionsTable.c.evaluation_event),
        ):
            blank(connection, table, column, table.c.asset_key == key)
