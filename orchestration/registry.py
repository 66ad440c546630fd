"""The registered encoders of a character: versions, the aliases `candidate`, `production`, `previous`, and loading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestration.tracking import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CANDIDATE, PRODUCTION, PREVIOUS = "candidate", "production", "previous"
REJECTED = "rejected"
"""Tag of a version that was rolled back: it is not promoted again by itself."""


class RegistryError(Exception):
    """There is no such model or version."""


def model_name(character: str) -> str:
    return f"likeness-{character}"


@dataclass(frozen=True)
class Registry:
    """One character's registered model."""

    tracking: Tracking
    character: str

    @property
    def name(self) -> str:
        return model_name(self.character)

    @property
    def client(self) -> MlflowClient:
        return self.tracking.client()

    def versions(self) -> list[dict[str, Any]]:
        """Every version, newest first, with its aliases and tags."""
        aliases = self.aliases()
        found = self.client.search_model_versions(f"name='{self.name}'", max_results=1000)
        return [
            {
                "version": int(version.version),
                "aliases": sorted(alias for alias, number in aliases.items() if number == str(version.version)),
                "run": version.run_id,
                "tags": dict(version.tags),
            }
            for version in sorted(found, key=lambda version: int(version.version), reverse=True)
        ]

    def aliases(self) -> dict[str, str]:
        from mlflow.exceptions import MlflowException

        try:
            model = self.client.get_registered_model(self.name)
        except MlflowException:
            return {}
        return {alias: str(number) for alias, number in model.aliases.items()}

    def find(self, version: str) -> ModelVersion:
        """A version by its number or an alias. Raises RegistryError."""
        from mlflow.exceptions import MlflowException

        try:
            if version.isdigit():
                return self.client.get_model_version(self.name, version)
            return self.client.get_model_version_by_alias(self.name, version)
        except MlflowException as error:
            raise RegistryError(
                f"{self.name} has no version {version}: run `likeness run`, or pick one that `likeness models` shows"
            ) from error

    def with_md5(self, md5: str) -> ModelVersion | None:
        """The version with exactly this content, if it was registered before."""
        found = self.client.search_model_versions(f"name='{self.name}' and tags.md5 = '{md5}'")
        return max(found, key=lambda version: int(version.version), default=None)

    def scorecard(self, version: str) -> dict[str, Any]:
        """The scorecard that was logged with a version. Raises RegistryError."""
        import mlflow.artifacts

        run = self.client.get_run(str(self.find(version).run_id))
        return json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/scorecard.json"))

    def set_candidate(self, version: str) -> None:
        self.client.set_registered_model_alias(self.name, CANDIDATE, version)

    def promote(self, version: str) -> None:
        """Move `production` to this version; what was there becomes `previous`. `production` moves last."""
        number, current = str(self.find(version).version), self.aliases().get(PRODUCTION)
        if number == current:
            return
        if current:
            self.client.set_registered_model_alias(self.name, PREVIOUS, current)
        self.client.set_registered_model_alias(self.name, PRODUCTION, number)

    def rollback(self) -> tuple[str, str]:
        """Make `previous` production again and mark what was there as rejected; (left, now). Raises RegistryError."""
        aliases = self.aliases()
        if PRODUCTION not in aliases or PREVIOUS not in aliases:
            raise RegistryError(f"{self.name} has no previous version to go back to: see `likeness models`")
        left, now = aliases[PRODUCTION], aliases[PREVIOUS]
        self.client.set_registered_model_alias(self.name, PRODUCTION, now)
        self.client.delete_registered_model_alias(self.name, PREVIOUS)
        self.client.set_model_version_tag(self.name, left, REJECTED, "rolled back")
        return left, now

    def load(self, version: str) -> tuple[Any, ModelVersion]:
        """The model itself (its `read` takes a photo), running the code that was registered with it, and its version.

        Raises RegistryError.
        """
        import mlflow.pyfunc

        found = self.find(version)
        mlflow.set_tracking_uri(self.tracking.uri)
        mlflow.set_registry_uri(self.tracking.uri)
        model = mlflow.pyfunc.load_model(f"models:/{self.name}/{found.version}")
        return model.unwrap_python_model(), found


def provenance(version: ModelVersion) -> Mapping[str, Any]:
    """Which model, which data: what `character.json` says about its origin."""
    tags = dict(version.tags)
    return {
        "model": version.name,
        "version": int(version.version),
        "run": version.run_id,
        "commit": tags.get("git.commit"),
        "inputs": {name.removeprefix("input."): md5 for name, md5 in sorted(tags.items()) if name.startswith("input.")},
    }
