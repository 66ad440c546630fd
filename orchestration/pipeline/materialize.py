"""What happens inside an asset: inputs fetched by md5, the stage run and tracked, its folder kept in DVC."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from orchestration import checks
from orchestration.checks import results
from orchestration.checks.context import CheckContext
from orchestration.checks.production import numbers
from orchestration.config.catalog import SOURCES, Stage
from orchestration.config.check_rules import Rules
from orchestration.config.profiles import config_hash, flatten
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import run_cache
from orchestration.promotion import comparison
from orchestration.registry.aliases import Ledger, model_name
from orchestration.storage import accepted_profile, dagster_metadata, versions
from orchestration.storage.store import Draft, RemoteDown, Store, StoreError
from orchestration.storage.tracking import DAGSTER_RUN, TrackedRun, Tracking
from orchestration.storage.versions import REUSED

EMBEDDED = "embedded"
"""The character that everything reads which is not made for one character."""


class SourceMissing(Exception):
    """A source's folder is not there."""


@dataclass(frozen=True)
class Workshop:
    """What every asset needs and no run changes."""

    settings: Settings
    characters: dg.StaticPartitionsDefinition
    by_character: frozenset[str]
    """The assets that are made once for each character."""
    stages: Mapping[str, Stage] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    """What the checks ask for."""

    @property
    def store(self) -> Store:
        return Store.of(self.settings)

    def source_folder(self, name: str, character: str | None = None) -> Path:
        """Folder of a source, called as stages call it. Raises SourceMissing."""
        if name == "character" and character:
            folder, remedy = (
                self.settings.characters / character,
                f"make it with `likeness character init characters/{character}`",
            )
        else:
            folder, remedy = self.settings.data / name, "run `likeness inputs`"
        if not folder.is_dir():
            raise SourceMissing(f"{folder} is missing: {remedy}")
        return folder

    def is_source(self, name: str) -> bool:
        return name in SOURCES or name == "character"

    def latest(self, instance: dg.DagsterInstance, name: str, character: str | None) -> versions.Version | None:
        """The newest version of a stage's input, for the character that is being made."""
        if name == "character":
            return versions.latest(instance, "characters", character or EMBEDDED)
        return versions.latest(instance, name, character if name in self.by_character else None)

    def observe(self, instance: dg.DagsterInstance, name: str, character: str | None = None) -> bool:
        """Look at a source and record it where it changed; True when it did.

        Where this machine's folders do not count, nothing is looked at. Raises SourceMissing, StoreError.
        """
        if self.settings.sources == "remote":
            return False
        character = (character or EMBEDDED) if name == "character" else None
        md5 = self.look(instance, name, character)
        source, folder = "characters" if name == "character" else name, self.source_folder(name, character)
        return versions.observe(
            instance, source, md5, character, lambda: dagster_metadata.of_source(folder, self.store.report(folder))
        )

    def look(self, instance: dg.DagsterInstance, name: str, character: str | None = None) -> str:
        """The md5 of a source's folder: the one recorded last, unless what counts of it changed. Its content is kept
        where it is new, so that a step anywhere reads it by md5.

        Raises SourceMissing, StoreError.
        """
        folder, seen = self.source_folder(name, character), self.latest(instance, name, character)
        md5 = self.store.version(folder, seen.md5 if seen else None)
        return md5 if self.store.is_kept(md5) else self.store.keep(folder)

    def told(self, name: str, character: str | None = None) -> str:
        """One line on what is read of a source and what is left out, "" where nothing is. Raises SourceMissing."""
        if self.settings.sources == "remote":
            return ""
        seen = self.store.report(self.source_folder(name, character))
        return f"{title(name, character)}: {seen}" if seen.left_out or seen.alike else ""

    def fetch(self, name: str, version: versions.Version) -> Path:
        """A folder that has exactly this version, to be read only. Raises StoreError."""
        if name == "character":
            # A studio's renderer may have to be executable, which DVC does not keep: its own folder, if it is the one.
            own = self.settings.characters / str(version.character)
            if own.is_dir() and self.store.version(own, version.md5) == version.md5:
                return own
        return self.store.fetch(version.md5)


def title(asset: str, character: str | None) -> str:
    return f"{asset}/{character}" if character else asset


def run_stage(
    context: dg.AssetExecutionContext,
    stage: Stage,
    config: BaseModel,
    workshop: Workshop,
    tracking: Tracking,
    progress: Progress,
) -> dg.MaterializeResult:
    """Fetch, run, check, keep, record."""
    began = time.monotonic()
    character = context.partition_key if stage.by_character else None
    versions = input_versions(context.instance, stage, character, workshop)
    compared = compared_version(context, stage, versions, workshop, tracking)
    key = run_cache.key_of(stage, config, character, versions | compared, workshop.fetch)
    forced = context.run.tags.get(run_cache.FORCE_TAG) == "true"
    if not forced and (known := run_cache.find(context.instance, workshop.store, stage, character, key)):
        return take_over(context, known, stage, config, versions, compared, workshop)
    folders = {name: workshop.fetch(name, version) for name, version in (versions | compared).items()}
    checkpoints = checkpoint_folder(stage, config, versions, workshop.settings, character)
    profile = accepted_profile.name_of(workshop.settings)
    tags = run_tags(context, stage.name, character, profile)
    with tracking.run(title(stage.name, character), tags, checkpoints) as run:
        close_abandoned(context, tracking, run, stage.name, character)
        run.params(flatten(config.model_dump(mode="json")))
        run.inputs({name: version.md5 for name, version in (versions | compared).items()})
        stage_began = time.monotonic()
        with workshop.store.writing(stage.name, character) as draft:
            stage_scope = stage_context(workshop, stage, checkpoints, run, progress)
            metrics = call(stage, folders, config, draft.folder, stage_scope)
            seconds = time.monotonic() - stage_began
        folder, md5 = draft.folder, draft.md5
        log_outcome(run, folder, metrics, md5)
    shutil.rmtree(checkpoints.parent, ignore_errors=True)
    # What fails is in the store by now, so that its rows can be looked at; `input_versions` lets nobody read it.
    results = checks.run_all(
        check_context(context.instance, stage, character, config, metrics, draft, folders, workshop)
    )
    metadata = describe(folder, metrics, md5, config, run)
    metadata |= origins(versions, compared)
    metadata["profile"] = profile
    metadata |= {"seconds": seconds, "seconds_around_the_stage": time.monotonic() - began - seconds}
    run_cache.remember(context.instance, stage.name, key, md5, context.run_id)
    return dg.MaterializeResult(data_version=dg.DataVersion(md5), metadata=metadata, check_results=results)


def take_over(
    context: dg.AssetExecutionContext,
    known: run_cache.CachedResult,
    stage: Stage,
    config: BaseModel,
    versions: dict[str, versions.Version],
    compared: dict[str, versions.Version],
    workshop: Workshop,
) -> dg.MaterializeResult:
    """Record a known result as that of these inputs, and judge it by the rules of now. It stays its first run's in
    MLflow; its lineage is that of these inputs, which it stands for, and `reused` says what it was really made of.
    """
    began, md5, character = time.monotonic(), known.md5, context.partition_key if stage.by_character else None
    reused = known.reused(versions | compared)
    context.log.info(f"{title(stage.name, character)}: {run_cache.told(reused)}")
    draft, metrics = Draft(known.folder, md5), numbers({name: known.fact(name) for name in known.metadata})
    drawn_with = {name: versions[name] for name in ("character",) if name in versions}
    folders = {name: workshop.fetch(name, version) for name, version in drawn_with.items()}
    results = checks.run_all(
        check_context(context.instance, stage, character, config, metrics, draft, folders, workshop)
    )
    metadata: dict[str, Any] = {**known.metadata, **origins(versions, compared), REUSED: reused}
    metadata["profile"] = accepted_profile.name_of(workshop.settings)
    metadata["seconds_around_the_stage"] = time.monotonic() - began
    return dg.MaterializeResult(data_version=dg.DataVersion(md5), metadata=metadata, check_results=results)


def origins(versions: dict[str, versions.Version], compared: dict[str, versions.Version]) -> dict[str, Any]:
    """The inputs of a version, and all that they came from. What it was compared with is no ancestor: nothing was made
    from it.
    """
    inputs = {name: version.md5 for name, version in (versions | compared).items()}
    return {"inputs": inputs, "lineage": ancestors(versions)}


def check_context(
    instance: dg.DagsterInstance,
    stage: Stage,
    character: str | None,
    config: BaseModel,
    metrics: Mapping[str, float],
    draft: Draft,
    folders: Mapping[str, Path],
    workshop: Workshop,
) -> CheckContext:
    """The version that was just made, as a check looks at it."""
    return CheckContext(
        stage,
        character,
        draft.md5,
        workshop.rules,
        results.production_of(workshop, instance, character),
        config.model_dump(mode="json"),
        metrics,
        lambda: draft.folder,
        (lambda: folders["character"]) if "character" in folders else None,
    )


def input_versions(
    instance: dg.DagsterInstance, stage: Stage, character: str | None, workshop: Workshop
) -> dict[str, versions.Version]:
    """The recorded version of each input.

    Dagster notes the versions of inputs before the step begins, so a source that changed since it was last seen is
    recorded now and the step tried again. Raises dagster.Failure when an input was never made or failed its checks.
    """
    names = stage.code.INPUTS
    changed = [name for name in names if workshop.is_source(name) and workshop.observe(instance, name, character)]
    if changed:
        raise dg.RetryRequested(max_retries=1)
    versions = {name: workshop.latest(instance, name, character) for name in names}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        raise dg.Failure(
            f"{stage.name} needs {', '.join(missing)}, which was never made: run `likeness run` without --only"
        )
    require_passed(instance, stage, character, workshop)
    return {name: version for name, version in versions.items() if version is not None}


def require_passed(instance: dg.DagsterInstance, stage: Stage, character: str | None, workshop: Workshop) -> None:
    """Raises dagster.Failure when an input's newest version failed a blocking check: nothing is made from it."""
    for name in stage.code.INPUTS:
        if origin := workshop.stages.get(name):
            partition = character if origin.by_character else None
            if failed := results.blocking(instance, origin, partition, workshop):
                raise dg.Failure(
                    f"{stage.name} would read a version that must not be read: {failed[0]}; the rows: "
                    f"`likeness checks {name}`",
                    allow_retries=False,
                )


def compared_version(
    context: dg.AssetExecutionContext,
    stage: Stage,
    versions: Mapping[str, versions.Version],
    workshop: Workshop,
    tracking: Tracking,
) -> dict[str, versions.Version]:
    """The version in production, for a stage that compares with it; nothing where there is none, or where its files are
    gone, which must not keep a candidate from being evaluated. Raises RegistryError, RemoteDown.
    """
    if not stage.compares:
        return {}
    ledger = Ledger(tracking.uri, model_name(context.partition_key))
    md5s = {name: version.md5 for name, version in versions.items()}
    try:
        found = comparison.production_version(ledger, workshop.store, context.partition_key, md5s)
        if found:
            workshop.fetch(comparison.PRODUCTION, found)
    except RemoteDown:
        raise
    except StoreError as error:
        context.log.warning(f"not compared with the version in production: {error}")
        found = None
    return {comparison.PRODUCTION: found} if found else {}


def checkpoint_folder(
    stage: Stage, config: BaseModel, versions: Mapping[str, versions.Version], settings: Settings, character: str | None
) -> Path:
    """Where this very run leaves checkpoints: another configuration or other inputs never find them."""
    key = json.dumps(
        [stage.code.VERSION, config_hash(config), {name: version.md5 for name, version in versions.items()}]
    )
    folder = (
        settings.checkpoints
        / title(stage.name, character).replace("/", "-")
        / hashlib.sha256(key.encode()).hexdigest()[:16]
    )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def call(stage: Stage, folders: Mapping[str, Path], config: BaseModel, out: Path, context: Any) -> dict[str, float]:
    """Run the stage here, or in a process for each device."""
    if context.devices == 1:
        return stage.code.run(folders, config, out, context)
    from stages.training import distributed

    return distributed.run(f"stages.{stage.name}", folders, config, out, context)


def stage_context(workshop: Workshop, stage: Stage, checkpoints: Path, run: TrackedRun, progress: Progress) -> Any:
    from stages.context import Context

    settings = workshop.settings
    return Context(
        device=settings.pick_device(),
        # stages.training.distributed knows a stage by its module's name.
        devices=settings.pick_devices() if stage.trains and stage.module is None else 1,
        workers=settings.workers,
        checkpoints=checkpoints,
        cache=settings.cache,
        on_progress=progress.step,
        on_metrics=run.metrics,
    )


def run_tags(context: dg.AssetExecutionContext, asset: str, character: str | None, profile: str) -> dict[str, str]:
    about = {DAGSTER_RUN: context.run_id, "git.commit": versions.git_commit(), "profile": profile}
    return asset_tags(asset, character) | about


def asset_tags(asset: str, character: str | None) -> dict[str, str]:
    return {"asset": asset} | ({"character": character} if character else {})


def close_abandoned(
    context: dg.AssetExecutionContext, tracking: Tracking, own: TrackedRun, asset: str, character: str | None
) -> None:
    """Close the MLflow runs that killed steps of this asset left open, and that nobody went on with."""

    def is_over(run_id: str) -> bool:
        run = context.instance.get_run_by_id(run_id) if run_id else None
        # An earlier attempt of this step is over too.
        return run is not None and (run.is_finished or run_id == context.run_id)

    tracking.close_abandoned(asset_tags(asset, character), is_over, own.run_id)


def log_outcome(run: TrackedRun, folder: Path, metrics: Mapping[str, float], md5: str) -> None:
    run.metrics(metrics)
    run.tag("output.md5", md5)
    for path in sorted(path for pattern in ("*.png", "*.json", "*.html") for path in folder.glob(pattern)):
        run.file(path)


def describe(
    folder: Path,
    metrics: Mapping[str, float],
    md5: str,
    config: BaseModel,
    run: TrackedRun,
) -> dict[str, Any]:
    """What the Dagster UI shows beside a materialisation."""
    about = dagster_metadata.of_output(folder, run.history)
    metadata: dict[str, Any] = {
        **({"pictures": about.pop("pictures")} if "pictures" in about else {}),
        "mlflow_run": dg.MetadataValue.url(run.url) if run.url else run.run_id,
        **{name: float(value) for name, value in metrics.items()},
        "md5": md5,
        "git_commit": versions.git_commit(),
        "mlflow_run_id": run.run_id,
        "config": config.model_dump(mode="json"),
    }
    return metadata | about


def ancestors(versions: Mapping[str, versions.Version]) -> dict[str, str]:
    """md5 of the inputs and of everything that they came from."""
    found: dict[str, str] = {}
    for version in versions.values():
        found |= version.lineage
    return found | {name: version.md5 for name, version in versions.items()}
