"""`likeness forget`: a photo's bytes, and every picture and table that holds its pixels, are erased wherever they lie.

Listings of data/photos name the photo by md5, tables have its row, and every version that was made from such a table
may show it (`erase_search`). Weights are left: they hold no picture, but those that were trained on it are named to be
retrained. What does not show it is left too, also where it has the same bytes as a file of the person's, and a
registered model in use never loses a file. A plan is in the erasure log before the first byte goes, so a command that
was killed is finished by the same command, and another machine's copies go when it is run there. Backups are told of
it, and restoring one erases the same again.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

import dagster as dg

from orchestration.config.files import delete
from orchestration.lineage import OnStep, silent
from orchestration.lineage.erase_plan import ErasePlan
from orchestration.lineage.erase_search import PICTURES
from orchestration.lineage.photo_index import SOURCE, PhotoIndex
from orchestration.registry import audit
from orchestration.registry.aliases import user
from orchestration.registry.people import FORGET
from orchestration.storage import backup_log, erasure_log, versions
from orchestration.storage.erasure_log import Erasure
from orchestration.storage.run_pictures import FAILING_FOLDER, RunPictures
from orchestration.storage.tracking import Tracking
from stages.data import alignment_cache, feature_cache


@dataclass(frozen=True)
class Eraser:
    """Carries out a plan on one project's stores."""

    instance: dg.DagsterInstance
    photo_index: PhotoIndex
    who: str = ""
    """A person who is known; empty: whoever the environment names."""

    def erase(self, plan: ErasePlan, why: str, progress: OnStep = silent) -> Erasure:
        """Do it, and say so in the erasure log before and after. No run may be at work. Raises RemoteDown, OSError."""
        entry = self._log(_entry(plan, why, self.who or user()))
        steps: list[tuple[str, Callable[[], object]]] = [
            ("data/photos", lambda: self._delete_photos(plan)),
            ("working copies", lambda: [delete(path) for path in plan.local]),
            ("aligned faces", lambda: self._erase_kept_faces(plan)),
            ("MLflow's files", lambda: self._erase_tracked(plan)),
            ("cache and remote", lambda: self.photo_index.store.remove(set(plan.objects))),
            ("what is left of data/photos", self._observe),
        ]
        for number, (what, step) in enumerate(steps):
            progress(f"erase: {what}", number, len(steps))
            step()
        # Without names: people are forgotten, and this log is not.
        details = {"erasure": entry.id, "photos": len(entry.photos), "files": len(entry.erased), "why": entry.why}
        audit.append(self.photo_index.settings.home, FORGET, entry.who, details)
        return self._log(replace(entry, done=True))

    def _log(self, entry: Erasure) -> Erasure:
        log = self.photo_index.erasure_log
        log.write(entry)
        home = self.photo_index.settings.home
        log.copy_to(home)
        backup_log.tell(home, entry)
        return entry

    def _delete_photos(self, plan: ErasePlan) -> None:
        for path in plan.photos:
            path.unlink(missing_ok=True)
            if path.parent != self.photo_index.folder and not any(path.parent.iterdir()):
                path.parent.rmdir()

    def _erase_kept_faces(self, plan: ErasePlan) -> None:
        if plan.kept_faces:
            alignment_cache.erase(plan.kept_faces.file, {photo.md5 for photo in plan.trace.photos})
        if plan.kept_features:
            feature_cache.keep_only(plan.kept_features.file, plan.kept_features.others)

    def _erase_tracked(self, plan: ErasePlan) -> None:
        tracking = Tracking.of(self.photo_index.settings)
        for version, names in plan.pictures:
            for record in self.photo_index.version_index.of(version.asset, version.md5):
                RunPictures.of(record, tracking).delete({*names, FAILING_FOLDER}.__contains__)
        for run_id in plan.ablations:
            RunPictures(tracking, run_id).delete(lambda path: path.endswith(PICTURES))

    def _observe(self) -> None:
        """The photos are other ones now; what depends on them is made again by the next run."""
        store, settings = self.photo_index.store, self.photo_index.settings
        if not self.photo_index.folder.is_dir():
            return
        versions.observe(self.instance, SOURCE, store.put(self.photo_index.folder))
        if (settings.root / "data.dvc").exists():
            store.add(settings.data)


def _entry(plan: ErasePlan, why: str, who: str) -> Erasure:
    before, photos = plan.unfinished, plan.trace.photos
    return Erasure(
        before.id if before else uuid.uuid4().hex,
        {path: photo.md5 for photo in photos for path in photo.paths},
        {photo.md5: photo.sha256 for photo in photos if photo.sha256},
        before.who if before else f"{who}@{socket.gethostname()}",
        before.when if before else erasure_log.now(),
        why or (before.why if before else ""),
        plan.trace.rows,
        plan.objects,
        official=plan.trace.official,
    )
