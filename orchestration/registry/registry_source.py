"""The version that an alias points at, for the service: found in the registry, fetched once, remembered."""

from __future__ import annotations

import json
import logging
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
    """A `serving.releases.Source`. It remembers in `folder` what it fetched, for a start while the registry is down."""

    registry: Registry
    folder: Path
    alias: str = PRODUCTION

    def current(self) -> Release:
        """The version that the alias names now. Raises NothingReleased, SourceDown."""
        try:
            version = self.registry.find(self.alias)
        except UnknownVersion as error:
            raise NothingReleased(str(error)) from error
        except RegistryError as error:
            raise SourceDown(str(error)) from error
        return Release(self.registry.name, int(version.version), provenance(version))

    def last(self) -> Release | None:
        """The version that was fetched last, None where none is here."""
        try:
            release = Release(**json.loads(self._remembered.read_text()))
        except FileNotFoundError:
            return None
        return release if self._place(release).is_dir() else None

    def fetch(self, release: Release) -> Path:
        """The folder of this version, downloaded where it is not here yet. Raises ReleaseBroken."""
        self._warn_of_other_hands(release)
        place = self._place(release)
        if not place.is_dir():
            self._download(release, place)
        write_whole(self._remembered, json.dumps(asdict(release)))
        place.touch()
        self._forget_others()
        return place

    @property
    def _remembered(self) -> Path:
        return self.folder / f"{self.registry.name}-{self.alias}.json"

    def _place(self, release: Release) -> Path:
        # With the run: another registry may have a version of the same number.
        return self.folder / f"{release.model}-{release.version}-{str(release.origin['run'])[:12]}"

    def _warn_of_other_hands(self, release: Release) -> None:
        """Who answers is asked of MLflow; who decided it, of the records."""
        try:
            outside = self.registry.alias_store.state().moved_outside()
        except RegistryError as error:
            log.warning("the registry is down: %s", error)
            return
        if outside and self.alias == PRODUCTION and outside.after == str(release.version):
            log.warning("%s answers past gate and records: %s", release, outside)

    def _download(self, release: Release, place: Path) -> None:
        """Beside its place, then renamed."""
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        tracking = self.registry.tracking.uri
        partial = beside(place)
        partial.mkdir(parents=True)
        try:
            uri = f"models:/{release.model}/{release.version}"
            found = download_artifacts(uri, dst_path=str(partial), tracking_uri=tracking, registry_uri=tracking)
            replace_folder(Path(found), place)
        except (MlflowException, OSError) as error:
            raise ReleaseBroken(f"{release} cannot be fetched: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _forget_others(self) -> None:
        """Drop what was fetched longest ago."""
        fetched = sorted(self.folder.glob(f"{self.registry.name}-*/"), key=lambda place: place.stat().st_mtime)
        for place in fetched[:-KEPT]:
            shutil.rmtree(place, ignore_errors=True)
