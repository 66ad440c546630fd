"""The version that an alias points at, for the service: found in the registry, fetched once, remembered."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestration.config.files import write_whole
from orchestration.registry.promotion_events import PRODUCTION, RegistryError, UnknownVersion
from orchestration.registry.registered_models import Registry, provenance
from orchestration.storage.staged_output import beside, replace_folder
from serving.releases import NothingReleased, Release, ReleaseBroken, SourceDown

log = logging.getLogger("likeness.serving")
KEPT = 3
"""Fetched versions: the one in production, and those that a rollback may bring back."""


@dataclass(frozen=True)
class RegistrySource:
    """A `serving.releases.ReleaseSource` that remembers in `folder` what it fetched: it starts without the registry."""

    registry: Registry
    folder: Path
    alias: str = PRODUCTION

    def current(self) -> Release:
        """The version that the alias points at. Raises NothingReleased, SourceDown."""
        try:
            version = self.registry.find(self.alias)
        except UnknownVersion as error:
            raise NothingReleased(str(error)) from error
        except RegistryError as error:
            raise SourceDown(str(error)) from error
        return Release(self.registry.name, int(version.version), provenance(version))

    def last(self) -> Release | None:
        """What was fetched last, if it still lies here."""
        try:
            release = Release(**json.loads(self._remembered.read_text()))
        except FileNotFoundError:
            return None
        return release if self._folder_of(release).is_dir() else None

    def fetch(self, release: Release) -> Path:
        """The folder with a version, fetched where it is not there. Raises ReleaseBroken."""
        self._warn_moved_outside(release)
        folder = self._folder_of(release)
        if not folder.is_dir():
            self._download(release, folder)
        write_whole(self._remembered, json.dumps(asdict(release)))
        folder.touch()
        self._delete_oldest()
        return folder

    def hold(self, release: Release) -> bool:
        """Make the folder of a version young, as `likeness clean` sees it; False: it is gone."""
        try:
            os.utime(self._folder_of(release))
        except FileNotFoundError:
            return False
        return True

    @property
    def _remembered(self) -> Path:
        return self.folder / f"{self.registry.name}-{self.alias}.json"

    def _folder_of(self, release: Release) -> Path:
        # With the run: another registry may have a version of the same number.
        return self.folder / f"{release.model}-{release.version}-{str(release.origin['run'])[:12]}"

    def _warn_moved_outside(self, release: Release) -> None:
        """MLflow names the version that is served; the records say who put it there, or that nobody recorded it."""
        try:
            outside = self.registry.alias_store.state().moved_outside()
        except RegistryError as error:
            log.warning("the registry is down: %s", error)
            return
        if outside and self.alias == PRODUCTION and outside.after == str(release.version):
            log.warning("%s answers past gate and records: %s", release, outside)

    def _download(self, release: Release, folder: Path) -> None:
        """Into a folder beside, which is renamed."""
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        self.registry.tracking.set_default()
        partial = beside(folder)
        partial.mkdir(parents=True)
        try:
            uri = f"models:/{release.model}/{release.version}"
            replace_folder(Path(download_artifacts(uri, dst_path=str(partial))), folder)
        except (MlflowException, OSError) as error:
            raise ReleaseBroken(f"{release} cannot be fetched: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _delete_oldest(self) -> None:
        """Delete what was fetched longest ago."""
        fetched = sorted(self.folder.glob(f"{self.registry.name}-*/"), key=lambda folder: folder.stat().st_mtime)
        for folder in fetched[:-KEPT]:
            shutil.rmtree(folder, ignore_errors=True)
