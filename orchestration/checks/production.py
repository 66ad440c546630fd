"""What the model in production was made from: the versions that new data and new models are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.registry.registered_models import PRODUCTION, Registry
from orchestration.storage.store import RemoteDown, Store, StoreError
from orchestration.storage.version_index import VersionIndex


class NoReference(Exception):
    """There is nothing to compare with; the message says why."""


@dataclass(frozen=True)
class Production:
    """The version in production of one character."""

    instance: dg.DagsterInstance
    store: Store
    registry: Registry

    @cached_property
    def name(self) -> str:
        """Its name and number. Raises NoReference."""
        number = self.registry.aliases().get(PRODUCTION)
        if number is None:
            raise NoReference(f"{self.registry.name} has no version in production")
        return f"{self.registry.name} {number}"

    @cached_property
    def _inputs(self) -> Mapping[str, str]:
        tags = self.registry.find(self.name.split()[-1]).tags
        return {name.removeprefix("input."): md5 for name, md5 in tags.items() if name.startswith("input.")}

    def md5(self, asset: str) -> str:
        """The version of an asset that it was made from. Raises NoReference."""
        name = self.name
        if asset not in self._inputs:
            raise NoReference(f"{name} does not say which {asset} it was made from")
        return self._inputs[asset]

    def folder(self, asset: str) -> Path:
        """The data itself. Raises NoReference where it was erased."""
        md5 = self.md5(asset)
        try:
            return self.store.fetch(md5)
        except (RemoteDown, StoreError) as error:
            raise NoReference(f"{asset} of {self.name} is not to be had any more: {error}") from error

    def metrics(self, asset: str, character: str | None) -> Mapping[str, float]:
        """The metrics of the version of a model that it was made from. Raises NoReference."""
        for version in VersionIndex(self.instance).of(asset, self.md5(asset)):
            if version.character == character:
                return numbers(version.metadata)
        raise NoReference(f"no run is recorded that made the {asset} of {self.name}")


def require_other(production: Production, asset: str, md5: str) -> None:
    """Raises NoReference where production was made from exactly this version, or there is none."""
    if production.md5(asset) == md5:
        raise NoReference(f"{production.name} was made from this very version")


def compared(production: Production, asset: str) -> dict[str, Any]:
    """What a check says of what it compared with."""
    return {"compared_with": f"{asset} of {production.name}", "reference_md5": production.md5(asset)}


def compared_with_nothing(reason: NoReference) -> dict[str, Any]:
    """What a check says where there was nothing to compare with."""
    return {"compared_with": "nothing", "reason": str(reason)}


def numbers(metadata: Mapping[str, Any]) -> dict[str, float]:
    """The metrics among what a materialisation says of itself."""
    return {name: value for name, value in metadata.items() if isinstance(value, float)}
