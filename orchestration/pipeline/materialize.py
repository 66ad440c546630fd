"""What happens inside an asset: inputs fetched by md5, the stage run and tracked, its folder kept in DVC."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from engine.processes import release_memory
from orchestration import checks
from orchestration.checks import results
from orchestration.checks.context import CheckContext
from orchestration.checks.production import numbers
from orchestration.config.catalog import COLLECTED, Stage
from orchestration.config.profiles import config_hash, flatten
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import continuation, reasons, retraining, run_cache
from orchestration.promotion import comparison
from orchestration.registry.aliases import AliasStore
from orchestration.storage import accepted_profile, costs, dagster_metadata
from orchestration.storage.project import AssetRef, Project, SourceChanged, is_source
from orchestration.storage.run_pictures import RunPictures
from orchestration.storage.staged_output import StagedOutput
from orchestration.storage.store import StoreError
from orchestration.storage.tracking import DAGSTER_RUN, RETRAINING, TrackedRun, Tracking
from orchestration.storage.versions import CONTINUED, REUSED, Version, git_commit

LONG = 5.0
"""Seconds: a stage that took less has left little memory, and to look for it takes half a second."""


def materialize(
    context: dg.AssetExecutionContext,
    project: Project,
    ref: AssetRef,
    config: BaseModel,
    tracking: Tracking,
    progress: Progress,
) -> dg.MaterializeResult:
    """Fetch, run, check, keep, record.

    Raises dagster.Failure, StoreError, RemoteDown, RegistryError, or what the stage raises.
    """
    began, stage = time.monotonic(), ref.stage
    belongs_to = retraining.of_run(project, context.run_id)
    versions = input_versions(project, ref, belongs_to)
    compared = compared_version(context, project, ref, versions, tracking)
    read = versions | compared
    key = run_cache.key_of(stage, config, ref.character, read, project.fetch)
    forced = context.run.tags.get(run_cache.FORCE_TAG) == "true"
    why = reasons.told(project, ref, config, versions, forced)
    noted = retraining.noted(project, context.run, belongs_to, why)
    if not forced and (known := run_cache.find(project.instance, project.store, stage, ref.character, key)):
        return take_over(context, project, ref, config, known, versions, compared, tracking, progress, noted)
    with project.store.opened():
        start = continuation.of(project, ref, config, versions)
        read |= start.inputs
        folders = {name: project.fetch(name, version) for name, version in read.items()}
        folders |= comparison.learned_from(project, compared.get(comparison.PRODUCTION), versions.get("aligned_faces"))
    if start.told:
        context.log.info(f"{ref} begins {start.told}")
    checkpoints = checkpoint_folder(project.settings, ref, config, {**versions, **start.inputs})
    profile = accepted_profile.name_of(project.settings)
    meter = costs.CostMeter.of(project.settings, stage, checkpoints)
    with meter, tracking.run(str(ref), run_tags(context, ref, profile, belongs_to), checkpoints) as run:
        close_abandoned(context, tracking, run, ref)
        run.params(flatten(config.model_dump(mode="json")))
        run.inputs({name: version.md5 for name, version in read.items()})
        for name, told in start.metadata.items():
            run.tag(name, told)
        stage_began = time.monotonic()
        with project.store.writing(stage.name, ref.character) as draft:
            stage_scope = stage_context(project.settings, stage, checkpoints, run, progress)
            metrics = call(stage, folders, config, draft.folder, stage_scope)
            seconds = time.monotonic() - stage_began
            require_unchanged(project, ref, versions, folders, belongs_to, checkpoints)
        cost = meter.cost(draft.added).figures()
        log_outcome(run, draft.folder, {**metrics, **cost})
        run.tag("output.md5", draft.md5)
    # What fails is in the store by now, so that its rows can be looked at; `input_versions` lets nobody read it.
    pictures = RunPictures(tracking, run.run_id)
    checked = checks.run_all(
        check_context(project, ref, config, {**metrics, **cost}, draft, versions, pictures, progress)
    )
    link = pictures.link() if "photos" in ancestors(versions) else None
    metadata = describe(draft.folder, metrics, draft.md5, config, run, link)
    metadata |= origins(versions, compared, start.inputs) | {"profile": profile, **start.metadata} | noted
    metadata |= {**cost, "seconds": seconds, "seconds_around_the_stage": time.monotonic() - began - seconds}
    run_cache.remember(project.instance, stage.name, key, draft.md5, context.run_id)
    # Last of all: until then another try goes on from them, whatever fails.
    shutil.rmtree(checkpoints.parent, ignore_errors=True)
    return dg.MaterializeResult(data_version=dg.DataVersion(draft.md5), metadata=metadata, check_results=checked)


def take_over(
    context: dg.AssetExecutionContext,
    project: Project,
    ref: AssetRef,
    config: BaseModel,
    known: run_cache.CachedResult,
    versions: Mapping[str, Version],
    compared: Mapping[str, Version],
    tracking: Tracking,
    progress: Progress,
    noted: Mapping[str, Any],
) -> dg.MaterializeResult:
    """Record a known result as that of these inputs, and judge it by the rules of now. It stays its first run's in
    MLflow; its lineage is that of these inputs, which it stands for, and `reused` says what it was really made of.
    """
    began = time.monotonic()
    reused = known.reused({**versions, **compared})
    context.log.info(f"{ref}: {run_cache.told(reused)}")
    # What it had cost was spent then: no budget is asked about it now.
    facts = {name: known.fact(name) for name in known.metadata if not name.startswith(costs.PREFIX)}
    draft, metrics = StagedOutput(known.folder, known.md5), numbers(facts)
    pictures = RunPictures(tracking, str(known.fact("mlflow_run_id")))
    checked = checks.run_all(check_context(project, ref, config, metrics, draft, versions, pictures, progress))
    begun = (known.fact("inputs") or {}).get(CONTINUED)
    started = {CONTINUED: Version(CONTINUED, ref.character, begun)} if begun else {}
    metadata: dict[str, Any] = {**known.metadata, **origins(versions, compared, started), **noted, REUSED: reused}
    metadata["profile"] = accepted_profile.name_of(project.settings)
    metadata["seconds_around_the_stage"] = time.monotonic() - began
    return dg.MaterializeResult(data_version=dg.DataVersion(known.md5), metadata=metadata, check_results=checked)


def origins(
    versions: Mapping[str, Version], compared: Mapping[str, Version], started: Mapping[str, Version] = {}
) -> dict[str, Any]:
    """The inputs of a version, and all that they came from. What it was compared with is no ancestor: nothing was made
    from it. Of the version that its training began with, that one alone is named: what that came from is in its own
    record, under the same names.
    """
    begun = {name: version.md5 for name, version in started.items()}
    inputs = {name: version.md5 for name, version in {**versions, **compared}.items()}
    return {"inputs": inputs | begun, "lineage": ancestors(versions) | begun}


def check_context(
    project: Project,
    ref: AssetRef,
    config: BaseModel,
    metrics: Mapping[str, float],
    draft: StagedOutput,
    versions: Mapping[str, Version],
    pictures: RunPictures,
    progress: Progress,
) -> CheckContext:
    """The version that was just made, as a check looks at it."""

    def fetch(name: str) -> Path:
        return project.fetch(name, versions[name])

    return CheckContext(
        ref.stage,
        ref.character,
        draft.md5,
        project.graph.rules,
        results.production_of(project, ref.character),
        config.model_dump(mode="json"),
        metrics,
        lambda: draft.folder,
        (lambda: fetch("character")) if "character" in versions else None,
        pictures,
        fetch,
        project.settings.cache,
        project.settings.pick_device,
        progress.step,
    )


def input_versions(project: Project, ref: AssetRef, belongs_to: str) -> dict[str, Version]:
    """The recorded version of each input, for a retraining.

    Dagster notes the versions of inputs before the step begins, so a source that changed since it was last seen is
    recorded now and the step tried again. Raises dagster.Failure when an input was never made or failed its checks.
    """
    names = project.graph.inputs_of(ref.stage)
    with project.store.opened():
        changed = [name for name in names if is_source(name) and project.observe(name, ref.character, belongs_to)]
    if changed:
        raise dg.RetryRequested(max_retries=1)
    versions = {name: project.latest(name, ref.character) for name in names}
    missing = [name for name, version in versions.items() if version is None]
    if collected := [stage.name for stage in COLLECTED if stage.name in missing]:
        remedy = f"`likeness {collected[0]} --collect` first"
        raise dg.Failure(f"{ref.name} needs {collected[0]}, which was never collected: {remedy}")
    if missing:
        raise dg.Failure(
            f"{ref.name} needs {', '.join(missing)}, which was never made: run `likeness run` without --only"
        )
    require_passed(project, ref)
    return {name: version for name, version in versions.items() if version is not None}


def require_unchanged(
    project: Project,
    ref: AssetRef,
    versions: Mapping[str, Version],
    folders: Mapping[str, Path],
    belongs_to: str = "",
    checkpoints: Path | None = None,
) -> None:
    """A character's own folder, which a stage reads because its renderer may have to be executable, may be changed
    under it: what comes of that, its checkpoints too, is of no one version. The change is recorded, and the step tried
    again.

    Raises dagster.RetryRequested, StoreError, RemoteDown.
    """
    folder = folders.get("character")
    if folder is None or folder.parent != project.settings.characters:
        return
    seen = versions["character"]
    if project.store.version(folder, seen.md5) == seen.md5:
        return
    reader = getattr(ref.stage.code, "READS", {}).get("character")
    if reader and reader.digest(folder) == reader.digest(project.store.fetch(seen.md5)):
        return
    if checkpoints:
        shutil.rmtree(checkpoints, ignore_errors=True)
    project.observe("character", seen.character, belongs_to)
    # Twice, since a source that had changed before the step began may have taken the first time.
    raise dg.RetryRequested(max_retries=2) from SourceChanged(
        f"{folder} was changed while {ref} was made from it: call this again once it is as it should be; if nobody "
        "changed it, its renderer writes into it, and must write elsewhere"
    )


def require_passed(project: Project, ref: AssetRef) -> None:
    """Raises dagster.Failure when an input's newest version failed a blocking check: nothing is made from it."""
    for name in project.graph.inputs_of(ref.stage):
        origin = project.graph.stage_of(name)
        if origin and (failed := results.blocking(project, AssetRef.of(origin, ref.character))):
            raise dg.Failure(
                f"{ref.name} would read a version that must not be read: {failed[0]}; the rows: "
                f"`likeness checks {name}`",
                allow_retries=False,
            )


def compared_version(
    context: dg.AssetExecutionContext,
    project: Project,
    ref: AssetRef,
    versions: Mapping[str, Version],
    tracking: Tracking,
) -> dict[str, Version]:
    """The version in production, for a stage that compares with it; nothing where there is none, or where its files are
    gone, which must not keep a candidate from being evaluated. Raises RegistryError, RemoteDown.
    """
    if not ref.stage.compares or ref.character is None:
        return {}
    aliases = AliasStore.of(project.settings, ref.character)
    md5s = {name: version.md5 for name, version in versions.items()}
    try:
        found = comparison.production_version(aliases, project.store, ref.character, md5s)
        if found:
            project.fetch(comparison.PRODUCTION, found)
    except StoreError as error:
        context.log.warning(f"not compared with the version in production: {error}")
        found = None
    return {comparison.PRODUCTION: found} if found else {}


def checkpoint_folder(settings: Settings, ref: AssetRef, config: BaseModel, versions: Mapping[str, Version]) -> Path:
    """Where this very run leaves checkpoints: another configuration or other inputs never find them."""
    md5s = {name: version.md5 for name, version in versions.items()}
    key = json.dumps([ref.stage.code.VERSION, config_hash(config), md5s])
    folder = settings.checkpoints / str(ref).replace("/", "-") / hashlib.sha256(key.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def call(stage: Stage, folders: Mapping[str, Path], config: BaseModel, out: Path, context: Any) -> dict[str, float]:
    """Run the stage here, or in a process for each device."""
    if context.devices == 1:
        began = time.monotonic()
        try:
            return stage.code.run(folders, config, out, context)
        finally:
            if time.monotonic() - began > LONG:
                release_memory()
    from stages.training import distributed

    return distributed.run(f"stages.{stage.name}", folders, config, out, context)


def stage_context(settings: Settings, stage: Stage, checkpoints: Path, run: TrackedRun, progress: Progress) -> Any:
    """What a stage may use: device, cache, where it leaves checkpoints and metrics."""
    from stages.context import Context

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


def run_tags(context: dg.AssetExecutionContext, ref: AssetRef, profile: str, belongs_to: str) -> dict[str, str]:
    """Tags of an MLflow run: which asset it makes, for whom, by which code, in which retraining."""
    about = {DAGSTER_RUN: context.run_id, "git.commit": git_commit(), "profile": profile, RETRAINING: belongs_to}
    return asset_tags(ref) | about


def asset_tags(ref: AssetRef) -> dict[str, str]:
    """Tags by which all MLflow runs of an asset are found."""
    return {"asset": ref.name} | ({"character": ref.character} if ref.character else {})


def close_abandoned(context: dg.AssetExecutionContext, tracking: Tracking, own: TrackedRun, ref: AssetRef) -> None:
    """Close the MLflow runs that killed steps of this asset left open, and that nobody went on with."""

    def is_over(run_id: str) -> bool:
        run = context.instance.get_run_by_id(run_id) if run_id else None
        # An earlier attempt of this step is over too.
        return run is not None and (run.is_finished or run_id == context.run_id)

    tracking.close_abandoned(asset_tags(ref), is_over, own.run_id)


def log_outcome(run: TrackedRun, folder: Path, metrics: Mapping[str, float]) -> None:
    """Log what a stage returned, and its pictures and documents."""
    run.metrics(metrics)
    for path in sorted(path for pattern in ("*.png", "*.json", "*.html") for path in folder.glob(pattern)):
        run.file(path)


def describe(
    folder: Path,
    metrics: Mapping[str, float],
    md5: str,
    config: BaseModel,
    run: TrackedRun,
    pictures: dg.MetadataValue | None,
) -> dict[str, Any]:
    """What the Dagster UI shows beside a materialisation. pictures: the link to its pictures, if they are not to stand
    there themselves.
    """
    about = dagster_metadata.of_output(folder, run.history, pictures)
    metadata: dict[str, Any] = {
        **({"pictures": about.pop("pictures")} if "pictures" in about else {}),
        "mlflow_run": dg.MetadataValue.url(run.url) if run.url else run.run_id,
        **{name: float(value) for name, value in metrics.items()},
        "md5": md5,
        "git_commit": git_commit(),
        "mlflow_run_id": run.run_id,
        "config": config.model_dump(mode="json"),
    }
    return metadata | about


def ancestors(versions: Mapping[str, Version]) -> dict[str, str]:
    """md5 of the inputs and of everything that they came from."""
    found: dict[str, str] = {}
    for version in versions.values():
        found |= version.lineage
    return found | {name: version.md5 for name, version in versions.items()}
