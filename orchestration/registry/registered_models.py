"""The registered encoders of a character: versions, their figures, and loading. `aliases.py` moves the aliases."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from orchestration.registry import remedies
from orchestration.registry.aliases import MOST_VERSIONS, AliasStore, model_name, registry_errors
from orchestration.registry.gate import find_score
from orchestration.registry.promotion_events import (
    CANDIDATE,
    PREVIOUS,
    PRODUCTION,
    REJECTED,
    RegistryError,
    UnknownVersion,
)
from orchestration.storage import mlflow_answers
from orchestration.storage.costs import Cost
from orchestration.storage.mlflow_client import import_mlflow, is_absent
from orchestration.storage.mlflow_files import note_files, path_of, resolve_location

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from orchestration.storage.tracking import Tracking

__all__ = ["CANDIDATE", "PREVIOUS", "PRODUCTION", "REJECTED", "Registry", "RegistryError", "model_name", "provenance"]

FIGURES = (
    "recovery.visible",
    "recovery.groups_mean",
    "verification.parameters_pca",
    "likeness.similarity",
    "likeness.rank1",
    "likeness.real_photos",
)
INPUT, SCORED = "input.", "scored."
"""Begin the tags of a version that say of what it was made, and of what its newest scorecard was."""
COSTS = {"all": "cost_of_all/", "new": "cost_of_new/"}
"""Begin the metrics of a version's run: of all steps that it came from, and of those that no version before it had."""
SCORECARD, COMPARISON = "scorecard.json", "comparison.json"
"""Files of a version's run: its evaluation, and a later one beside what was in production by then."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version, under MLflow's own names for what it says of one."""

    name: str
    version: str
    run_id: str | None
    tags: Mapping[str, str]
    description: str = ""
    creation_timestamp: int = 0
    """Milliseconds since 1970."""


@dataclass(frozen=True)
class Registry:
    """One character's registered model."""

    tracking: Tracking
    character: str

    @property
    def name(self) -> str:
        """Of the registered model in MLflow."""
        return model_name(self.character)

    @property
    def client(self) -> MlflowClient:
        """MLflow's own."""
        return self.tracking.client()

    @property
    def alias_store(self) -> AliasStore:
        """What reads and moves the aliases of this model."""
        return AliasStore(self.tracking.uri, self.name, Path(self.tracking.home))

    def versions(self) -> list[dict[str, Any]]:
        """Every version, newest first, with its aliases, tags, promotions and rollbacks. Raises RegistryError."""
        state, found = self.alias_store.state(), {}
        for number, (run, tags) in self._runs_and_tags().items():
            found[int(number)] = {
                "version": int(number),
                "aliases": sorted(alias for alias, target in state.aliases.items() if target == number),
                "run": run,
                "rejected": state.is_rejected(number),
                "moves": [
                    {"kind": event.kind, **event.document()} for event in state.history() if event.version == number
                ],
                "approvals": [approval.document() for approval in state.approvals(number)],
                "tags": tags,
            }
        return [found[number] for number in sorted(found, reverse=True)]

    def _runs_and_tags(self) -> dict[str, tuple[str | None, dict[str, str]]]:
        """Each version's run and tags, by its number. Raises RegistryError."""

        def read() -> dict[str, Any]:
            found = self._search(f"name='{self.name}'")
            return {str(version.version): (version.run_id, dict(version.tags)) for version in found}

        return self._ask(f"versions of {self.name}", read)

    def _ask(self, question: str, answer: Callable[[], Any]) -> Any:
        """What MLflow says to this, or said while its database was the same."""
        return mlflow_answers.ask(self.tracking.uri, Path(self.tracking.home), question, answer)

    def aliases(self) -> dict[str, str]:
        """Raises RegistryError."""
        return dict(self.alias_store.state().aliases)

    def _search(self, query: str) -> list[ModelVersion]:
        with registry_errors(self.tracking.uri):
            return list(self.client.search_model_versions(query, max_results=MOST_VERSIONS))

    def find(self, version: str) -> RegisteredVersion:
        """A version by its number or an alias. Raises UnknownVersion, or RegistryError when nothing answers."""

        def read() -> tuple[str, str | None, dict[str, str], str, int]:
            found = self._get(version)
            about = dict(found.tags), found.description or "", found.creation_timestamp
            return str(found.version), found.run_id, *about

        return RegisteredVersion(self.name, *self._ask(f"version {version} of {self.name}", read))

    def _get(self, version: str) -> ModelVersion:
        from mlflow.exceptions import MlflowException

        with registry_errors(self.tracking.uri):
            try:
                if version.isdigit():
                    return self.client.get_model_version(self.name, version)
                return self.client.get_model_version_by_alias(self.name, version)
            except MlflowException as error:
                if not is_absent(error):
                    raise
                raise UnknownVersion(remedies.missing(self, version)) from error

    def with_md5(self, md5: str) -> ModelVersion | None:
        """The version with exactly this content, if it was registered before."""
        found = self._search(f"name='{self.name}' and tags.md5 = '{md5}'")
        return max(found, key=lambda version: int(version.version), default=None)

    def number_of(self, md5: str) -> str:
        """The newest version with exactly this content, "" where there is none. Raises RegistryError."""
        tags = self.alias_store.state().tags
        return max((number for number in tags if tags[number].get("md5") == md5), key=int, default="")

    def lost(self, number: str) -> str:
        """What of a registered version is gone, "" where it is whole: its run, or its files in this home.

        Raises RegistryError.
        """
        run = str(self._runs_and_tags()[number][0])
        if self._ask(f"files of run {run}", lambda: self._files_of(run)) is None:
            return f"the run of version {number} was erased from MLflow"
        folder = self._own_folder(number)
        if folder and not (folder / "MLmodel").is_file():
            return f"the files of version {number} are gone from {folder}"
        return ""

    def _own_folder(self, number: str) -> Path | None:
        """Where the files of a version are in this home, None where they are elsewhere. Raises RegistryError."""
        if not self.tracking.files:
            return None
        folder = self._local(self._ask(f"place of {self.name} {number}", lambda: self._place_of(number)))
        return folder if folder and folder.is_relative_to(self.tracking.files) else None

    def _files_of(self, run: str) -> str | None:
        """Where a run's files are, as MLflow says it; None where the run was erased. Raises RegistryError."""
        from mlflow.exceptions import MlflowException

        with registry_errors(self.tracking.uri):
            try:
                return str(self.client.get_run(run).info.artifact_uri)
            except MlflowException as error:
                if not is_absent(error):
                    raise
                return None

    def _place_of(self, number: str) -> str:
        with registry_errors(self.tracking.uri):
            return str(self.client.get_model_version_download_uri(self.name, number))

    def _local(self, location: str) -> Path | None:
        """The folder of this machine that MLflow means, None where it means none."""
        if self.tracking.files:
            note_files(self.tracking.uri, Path(self.tracking.files))
        return path_of(resolve_location(location, self.tracking.uri))

    def scorecard(self, version: str) -> dict[str, Any]:
        """The scorecard that was logged with a version. Raises RegistryError."""
        card = self._document(version, SCORECARD)
        if card is None:
            raise RegistryError(f"{self.name} version {version} has no scorecard, or its run was erased from MLflow")
        return card

    def card_against(self, version: str, production: str | None) -> dict[str, Any] | None:
        """The version's figures beside those of the version in production (md5; None: there is none), from one run on
        the same people; None where it was never compared with just that one. Raises RegistryError.
        """
        own = self._document(version, SCORECARD)
        if production is None:
            return None if own is None else {**own, PRODUCTION: None}
        for card in (own, self._document(version, COMPARISON)):
            if card and (card.get(PRODUCTION) or {}).get("md5") == production:
                return card
        return None

    def figures(self, version: str) -> dict[str, float | None]:
        """The main scores of a version's own evaluation by path; none where nothing was logged."""
        card = self._document(version, SCORECARD) or {}
        found = {path: find_score(card, path) for path in FIGURES}
        return {path: score["value"] for path, score in found.items() if score}

    def costs(self, version: str) -> dict[str, dict[str, float]]:
        """What a version cost, `all` of it and what was `new`, by figure; none where nobody measured it."""
        run = str(self.find(version).run_id)
        figures = self._ask(f"costs of run {run}", lambda: self._costs_of(run))
        found = {name: Cost.of(figures, prefix) for name, prefix in COSTS.items()}
        return {name: cost.figures("") for name, cost in found.items() if cost}

    def _costs_of(self, run: str) -> dict[str, float]:
        """The metrics of a run that say what something cost; none where the run was erased. Raises RegistryError."""
        from mlflow.exceptions import MlflowException

        with registry_errors(self.tracking.uri):
            try:
                figures = self.client.get_run(run).data.metrics
            except MlflowException as error:
                if not is_absent(error):
                    raise
                return {}
        return {name: value for name, value in figures.items() if name.startswith(tuple(COSTS.values()))}

    def log_costs(self, version: str, costs: Mapping[str, Cost]) -> None:
        """Keep what a version cost with its run, by the names of COSTS."""
        from mlflow.entities import Metric

        now, run = int(time.time() * 1000), str(self.find(version).run_id)
        figures = {name: value for key, cost in costs.items() for name, value in cost.figures(COSTS[key]).items()}
        self.client.log_batch(run, [Metric(name, value, now, 0) for name, value in figures.items()])

    def log_card(self, version: str, card: Mapping[str, Any], name: str = SCORECARD) -> None:
        """Keep a scorecard, or a comparison, with a version's run."""
        self.client.log_dict(str(self.find(version).run_id), dict(card), name)

    def note_scored(self, version: ModelVersion, inputs: Mapping[str, str]) -> None:
        """Note what a version's newest scorecard was made of (md5 by asset), where that is not what it was made of."""
        tags = dict(version.tags)
        for asset, md5 in inputs.items():
            name = f"{SCORED}{asset}"
            if md5 != tags.get(f"input.{asset}"):
                self.client.set_model_version_tag(self.name, version.version, name, md5)
            elif name in tags:
                self.client.delete_model_version_tag(self.name, version.version, name)

    def _document(self, version: str, name: str) -> dict[str, Any] | None:
        known = self._runs_and_tags()
        run = str(known[version][0] if version in known else self.find(version).run_id)
        try:
            location = self._ask(f"files of run {run}", lambda: self._files_of(run))
        except RegistryError:  # it answers for versions, and not for runs
            return None
        if location is None:
            return None
        if self.tracking.files and (folder := self._local(location)):
            try:
                return json.loads((folder / name).read_text())
            except OSError:
                return None
        return self._download(f"{location}/{name}")

    def _download(self, uri: str) -> dict[str, Any] | None:
        import mlflow.artifacts
        from mlflow.exceptions import MlflowException

        try:
            with TemporaryDirectory() as folder:
                file = mlflow.artifacts.download_artifacts(uri, dst_path=folder, tracking_uri=self.tracking.uri)
                return json.loads(Path(file).read_text())
        except (MlflowException, OSError):
            return None

    def load(self, version: str) -> tuple[Any, RegisteredVersion]:
        """The model itself (its `read` takes a photo), running the code that was registered with it, and its version.

        Raises RegistryError.
        """
        import_mlflow()
        import mlflow.pyfunc

        found = self.find(version)
        number = found.version
        self.tracking.set_default()
        try:
            # By its name, MLflow opens its database to say where that is.
            place = self._own_folder(number) or f"models:/{self.name}/{number}"
            return mlflow.pyfunc.load_model(str(place), suppress_warnings=True).unwrap_python_model(), found
        except Exception as error:  # the files are MLflow's, the code is the version's own
            reason = self.lost(number) or f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            remedy = remedies.broken(self, number)
            raise RegistryError(f"{self.name} version {number} cannot be loaded ({reason}): {remedy}") from error


def provenance(version: RegisteredVersion) -> Mapping[str, Any]:
    """Which model, which data: what `character.json` says about its origin."""
    tags = dict(version.tags)
    return {
        "model": version.name,
        "version": int(version.version),
        "run": version.run_id,
        "commit": tags.get("git.commit"),
        "inputs": {name.removeprefix("input."): md5 for name, md5 in sorted(tags.items()) if name.startswith("input.")},
    }
