"""`likeness forget`: a photo's bytes, and every picture and table that holds its pixels, are erased wherever they lie.

What holds them is found, not assumed: listings of data/photos name the photo by md5, tables have its row, and every
version that was made from such a table may show it. Weights are left: they hold no picture, but those that were trained
on it are named to be retrained. A plan is in the ledger before the first byte goes, so a command that was killed is
finished by the same command, and another machine's copies go when it is run there.
"""

from __future__ import annotations

import getpass
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

from orchestration import lineage
from orchestration.catalog import SOURCES
from orchestration.checks.report import SHEET
from orchestration.lineage import ledger as ledgers
from orchestration.lineage.events import Version
from orchestration.lineage.ledger import Entry
from orchestration.lineage.photos import SOURCE, Album, Photo, Trace, trace
from orchestration.lineage.targets import MODEL
from orchestration.settings import Settings
from orchestration.store import RemoteDown, Store, StoreError, pointed_md5
from orchestration.tracking import Tracking

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".html")
"""Files that show faces, made small and joined: whose, nobody can read out of them again."""
WEIGHTS = (".safetensors", ".json")
"""Files that hold no pixels."""
ABLATIONS = "likeness-ablations"
NOT_ERASED = (
    "weights of models that were trained on it: retrain them (listed above)",
    "what other machines keep in their own cache: run the same command on each of them",
    "backups, and older versions of objects where the remote keeps them (S3 versioning)",
    "its name, in listings of data/photos, in quarantine tables' versions and in the ledger",
)

Progress = Callable[[str, int, int], None]


@dataclass
class Plan:
    """Everything that `forget` will do, before it does it."""

    trace: Trace
    photos: list[Path] = field(default_factory=list)
    """Files in data/photos."""
    objects: dict[str, str] = field(default_factory=dict)
    """Files in cache and remote by md5, and where they belong: `<asset> <md5>/<file>`."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of those that are still kept somewhere."""
    local: list[Path] = field(default_factory=list)
    """Files and folders of this machine's: working copies, computed features, checkpoints, ablations."""
    pictures: list[tuple[Version, tuple[str, ...]]] = field(default_factory=list)
    """Versions whose record in Dagster and whose MLflow run show pictures, and the names of these."""
    yours: list[Path] = field(default_factory=list)
    """Characters that were created from one of them; not the pipeline's, so left alone."""
    unfinished: Entry | None = None

    @property
    def names(self) -> list[str]:
        return sorted({path for photo in self.trace.photos for path in photo.paths})

    @property
    def nothing_left(self) -> bool:
        return not (self.photos or self.sizes or self.local or self.unfinished)

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            **self.trace.document(),
            "delete": [str(path) for path in self.photos],
            "erase": [{"md5": md5, "file": self.objects[md5], "bytes": size} for md5, size in self.sizes.items()],
            "erase_here": [str(path) for path in self.local],
            "retrain": [retrain_command(use.model.character) for use in self.trace.uses if use.retrain],
            "not_erased": [*NOT_ERASED, *(f"{path}: yours, made from it" for path in self.yours)],
        }


@dataclass(frozen=True)
class Forgetting:
    """One project's stores, for a plan and what follows it."""

    settings: Settings
    instance: dg.DagsterInstance
    album: Album

    @property
    def store(self) -> Store:
        return self.album.store

    def plan(self, photos: Sequence[Photo], progress: Progress = lambda what, done, total: None) -> Plan:
        """Look everywhere; nothing is changed. Raises RemoteDown."""
        found = Plan(trace(self.album, photos, progress))
        entries = found.trace.forgotten
        found.unfinished = next((entry for entry in entries if not entry.done), None)
        found.photos = [self.album.folder / path for photo in photos for path in photo.here]
        named = ", ".join(found.names)
        found.objects = {photo.md5: f"{SOURCE}: {named}" for photo in photos}
        clean = self._clean_pictures(found.trace)
        for entry in entries:
            found.objects |= {md5: where for md5, where in entry.erased.items() if md5 not in clean}
        showing = found.trace.showing
        for number, version in enumerate(showing):
            progress("files that show them", number, len(showing))
            files = self._files_showing(version, found.trace, clean)
            found.objects |= {md5: f"{version.asset} {version.md5}/{path}" for path, md5 in files.items()}
            if names := tuple(sorted(path for path in files if path.endswith(PICTURES))):
                found.pictures.append((version, names))
        found.sizes = _kept(self.store, found.objects)
        found.local = [*self._local(found)]
        found.yours = [*self._created_from(photos)]
        return found

    def carry_out(self, plan: Plan, why: str, progress: Progress = lambda what, done, total: None) -> Entry:
        """Do it, and say so in the ledger before and after. No run may be at work. Raises RemoteDown, OSError."""
        entry = self.album.ledger.write(self._entry(plan, why))
        self.album.ledger.copy_to(self.settings.home)
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
        done = self.album.ledger.write(replace(entry, done=True))
        self.album.ledger.copy_to(self.settings.home)
        return done

    # --- planning

    def _clean_pictures(self, found: Trace) -> set[str]:
        """md5 of every picture that is also in a version made without the photos: it shows them nowhere."""
        assets = {version.asset for version in found.showing}
        others = {mention.md5 for asset in assets for mention in self.album.records.mentions(asset)}
        listings = self.store.listings(others - {version.md5 for version in found.showing})
        return {
            md5 for files in listings.values() for path, md5 in files.items() if Path(path).suffix.lower() in PICTURES
        }

    def _files_showing(self, version: Version, found: Trace, clean: Collection[str]) -> dict[str, str]:
        """md5 by path of the files of a version that may hold pixels of the photos."""
        listing = self._listing(version.md5)
        return {path: md5 for path, md5 in listing.items() if self._shows(version, path, md5, found, clean)}

    def _listing(self, md5: str) -> dict[str, str]:
        """A version's files; none where its listing is nowhere to be had. Raises RemoteDown."""
        try:
            return self.store.listing(md5)
        except RemoteDown:
            raise
        except StoreError:
            return {}

    def _shows(self, version: Version, path: str, md5: str, found: Trace, clean: Collection[str]) -> bool:
        suffix = Path(path).suffix.lower()
        if suffix in PICTURES:
            return md5 not in clean
        if suffix in WEIGHTS:
            return False
        if suffix == ".parquet":
            return version.md5 in found.rows and self._has_pictures(md5)
        return self._contains(md5, found.photos)

    def _has_pictures(self, md5: str) -> bool:
        from pyarrow import parquet

        try:
            return "image" in parquet.read_schema(self.store.file(md5)).names
        except StoreError:
            return False

    def _contains(self, md5: str, photos: Sequence[Photo]) -> bool:
        """Whether a file of a kind that nobody knows has a photo's bytes in it, as they are."""
        try:
            content = self.store.file(md5).read_bytes()
            return any(self.store.file(photo.md5).read_bytes() in content for photo in photos)
        except StoreError:
            return False

    def _local(self, found: Plan) -> Iterator[Path]:
        home, root = self.settings.home, self.settings.root
        yield from (path for path in (self.settings.cache / "features").glob("*") if path.is_file())
        yield from self._checkpoints()
        yield from (root / "artifacts").rglob(".*.partial")
        yield from (home / "inputs").glob(".*.partial")
        yield from self._ablations(found.trace)[0]
        for pointer in sorted((root / "artifacts").rglob("*.dvc")):
            folder = pointer.with_suffix("")
            listing = self._listing(pointed_md5(folder) or "")
            yield from (
                folder / path for path, md5 in listing.items() if md5 in found.objects and (folder / path).exists()
            )

    def _checkpoints(self) -> Iterator[Path]:
        """Trainings that were interrupted, but for those of assets that are known not to see photos."""
        for folder in self.settings.checkpoints.glob("*/*"):
            asset = next((name for name in self._assets() if folder.parent.name.split("-")[0] == name), None)
            newest = self.album.records.mentions(asset)[:1] if asset else []
            versions = self.album.records.versions(newest)
            if not versions or SOURCE in versions[0].lineage:
                yield folder

    def _assets(self) -> set[str]:
        return {mention.asset for mention in self.album.records.mentions()} - set(SOURCES)

    def _ablations(self, found: Trace) -> tuple[list[Path], list[str]]:
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

    def _created_from(self, photos: Sequence[Photo]) -> Iterator[Path]:
        sha256 = [photo.sha256 for photo in photos if photo.sha256]
        for document in (self.settings.root / "out").rglob("character.json"):
            text = document.read_text(errors="ignore")
            if any(digest in text for digest in sha256):
                yield document.parent

    # --- carrying out

    def _entry(self, plan: Plan, why: str) -> Entry:
        before, photos = plan.unfinished, plan.trace.photos
        return Entry(
            before.id if before else uuid.uuid4().hex,
            {path: photo.md5 for photo in photos for path in photo.paths},
            {photo.md5: photo.sha256 for photo in photos if photo.sha256},
            before.who if before else f"{getpass.getuser()}@{socket.gethostname()}",
            before.when if before else ledgers.now(),
            why or (before.why if before else ""),
            plan.trace.rows,
            plan.objects,
        )

    def _delete_photos(self, plan: Plan) -> None:
        for path in plan.photos:
            path.unlink(missing_ok=True)
            if path.parent != self.album.folder and not any(path.parent.iterdir()):
                path.parent.rmdir()

    def _blank_records(self, plan: Plan) -> None:
        """Take the pictures out of Dagster's records: no public call changes an event."""
        storage = self.album.records.storage
        stems = {version.md5: {Path(name).stem for name in names} for version, names in plan.pictures}
        for version in plan.trace.showing:
            # A registered model shows pictures of its scorecard.
            named = None if version.asset == MODEL else stems.get(version.md5, set()) | {SHEET}
            blank_pictures(storage, version, named)
        for md5 in plan.trace.sources:
            for version in self.album.records.of(SOURCE, md5):
                blank_pictures(storage, version, None)

    def _erase_tracked(self, plan: Plan) -> None:
        tracking = Tracking.of(self.settings)
        for version, names in plan.pictures:
            for record in self.album.records.of(version.asset, version.md5):
                if run_id := record.metadata.get("mlflow_run_id"):
                    erase_artifacts(tracking, str(run_id), names)
        for run_id in self._ablations(plan.trace)[1]:
            erase_artifacts(tracking, run_id, None)

    def _observe(self) -> None:
        """The photos are other ones now; what depends on them is made again by the next run."""
        if not self.album.folder.is_dir():
            return
        lineage.observe(self.instance, SOURCE, self.store.keep(self.album.folder))
        if (self.settings.root / "data.dvc").exists():
            self.store.add(self.settings.data)


def retrain_command(character: str | None) -> str:
    return f"likeness run --character {character}" if character else "likeness run"


def _kept(store: Store, objects: Mapping[str, str]) -> dict[str, int]:
    """Bytes of those objects that the cache or the remote still has."""
    sizes: dict[str, int] = {}
    for place in store.held().values():
        sizes |= {md5: place[md5] for md5 in objects if md5 in place}
    return sizes


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
