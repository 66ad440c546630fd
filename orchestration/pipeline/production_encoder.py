"""The last asset: the encoder becomes a registered model, and production if it has earned it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel

from orchestration.config.catalog import STAGES, Stage
from orchestration.config.profiles import code_version, flatten
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import reasons, retraining
from orchestration.pipeline.materialize import ancestors, close_abandoned, input_versions, require_unchanged, run_tags
from orchestration.pipeline.run_cache import FORCE_TAG
from orchestration.pipeline.run_coordinator import USER_TAG
from orchestration.promotion import card_scores, comparison, model_card, shadow
from orchestration.promotion.packaging import LOADER, NETWORKS, code_files, digest, log_model, log_scores, pack
from orchestration.promotion.scorecards import complete
from orchestration.registry.aliases import user
from orchestration.registry.gate import Config, GateResult, evaluate, markdown, replaced
from orchestration.registry.promotion_events import NEWEST, AliasState
from orchestration.registry.registered_models import INPUT, Registry
from orchestration.registry.remedies import command
from orchestration.storage import accepted_profile, dagster_metadata
from orchestration.storage.costs import CostMeter
from orchestration.storage.instance import is_of_command
from orchestration.storage.project import AssetRef, Project
from orchestration.storage.run_pictures import RunPictures
from orchestration.storage.store import StoreError
from orchestration.storage.tracking import RETRAINING, Tracking
from orchestration.storage.version_index import VersionIndex
from orchestration.storage.versions import Version, git_commit, latest

NAME, GATE = comparison.ASSET, "promotion_gate"


class _Module:
    # New code is a new model, although no weight changed.
    VERSION = f"2-{digest({**code_files(), 'loader.py': LOADER})}"
    Config = Config
    INPUTS = (
        "embedded",
        "character",
        "identity_model",
        "parsing_model",
        "imitator",
        "identity_imitator",
        "encoder",
        "scorecard",
    )


INPUTS = _Module.INPUTS
STAGE = Stage(NAME, "production", ("mlflow", "torch", "dvc"), "", by_character=True, module=_Module)
PIPELINE = (*STAGES, STAGE)
"""The whole graph."""


def register(
    context: dg.AssetExecutionContext, config: BaseModel, project: Project, tracking: Tracking, progress: Progress
) -> dg.MaterializeResult:
    """Pack, track, register what is new, judge it, set `candidate` where it passes, and promote it where the gate says
    so.
    """
    assert isinstance(config, Config)
    with CostMeter.of(project.settings, STAGE) as meter:
        return _register(context, config, project, tracking, progress, meter)


def _register(
    context: dg.AssetExecutionContext,
    config: Config,
    project: Project,
    tracking: Tracking,
    progress: Progress,
    meter: CostMeter,
) -> dg.MaterializeResult:
    character = context.partition_key
    ref, belongs_to = AssetRef(STAGE, character), retraining.of_run(project, context.run_id)
    versions = input_versions(project, ref, belongs_to)
    forced = context.run.tags.get(FORCE_TAG) == "true"
    why = reasons.told(project, ref, config, versions, forced)
    noted = retraining.noted(project, context.run, belongs_to, why)
    folders = {name: project.fetch(name, version) for name, version in versions.items()}
    with project.store.writing(NAME, character) as draft:
        metrics = pack(folders, draft.folder)
        require_unchanged(project, ref, versions, folders, belongs_to)
    registry, md5, lineage_md5 = Registry(tracking, character), draft.md5, ancestors(versions)
    stage_scores = json.loads((folders["scorecard"] / "scorecard.json").read_text())
    card = complete(stage_scores, versions["scorecard"].metadata)
    before = registry.alias_store.state().tags
    number = _registered(context, project, registry, draft.folder, md5, versions, card, belongs_to)
    registry.alias_store.set_alias(NEWEST, number)
    current, card = _against_production(registry, project, number, card, progress)
    served = shadow.figures(registry, current, number) if current and card["production"] and config.shadow else None
    gate_result = evaluate(config, card, served)
    refusals, promoted = _decide(context, registry, config, number, current, gate_result)
    in_production = promoted or number == current
    metadata: dict[str, Any] = {
        **dagster_metadata.of_model(
            RunPictures.of(versions["scorecard"], tracking), tracking.model_url(registry.name, number)
        ),
        "model": registry.name,
        "version": int(number),
        "new_version": number not in before,
        "in_production": in_production,
        "refused_because": refusals,
        "judged_otherwise": replaced(config, card),
        "compared_with": current if card.get("production") else "",
        "gate": dg.MetadataValue.md(markdown(gate_result)),
        "md5": md5,
        "inputs": {name: version.md5 for name, version in versions.items()},
        "lineage": lineage_md5,
        "git_commit": git_commit(),
        "config": config.model_dump(mode="json"),
        "profile": accepted_profile.name_of(project.settings),
        **noted,
        **metrics,
        **meter.cost(draft.added).figures(),
    }
    made = Version(
        NAME, character, md5, context.run_id, lineage_md5, metadata, time.time(), code_version(STAGE, config)
    )
    _keep_card(context, project, registry, number, made)
    check = _check(number, in_production, refusals, gate_result)
    return dg.MaterializeResult(data_version=dg.DataVersion(md5), metadata=metadata, check_results=[check])


def _keep_card(
    context: dg.AssetExecutionContext, project: Project, registry: Registry, number: str, made: Version
) -> None:
    """Put the model card into MLflow. A model without one is registered all the same."""
    try:
        card = model_card.describe(registry, number, project.store, VersionIndex(context.instance), made)
        model_card.keep(registry, number, card)
    except Exception as error:
        remedy = command(f"card {number} --keep", registry.character)
        context.log.warning(f"version {number} has no model card, {remedy} makes it: {type(error).__name__}: {error}")


def _check(number: str, in_production: bool, refusals: list[str], gate_result: GateResult) -> dg.AssetCheckResult:
    passed = f"version {number} is in production" if in_production else f"version {number} may be promoted by hand"
    return dg.AssetCheckResult(
        check_name=GATE,
        asset_key=NAME,
        passed=not refusals,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(refusals) or passed,
        metadata={"scores": dg.MetadataValue.md(markdown(gate_result))},
    )


def _against_production(
    registry: Registry,
    project: Project,
    number: str,
    card: Mapping[str, Any],
    progress: Progress,
) -> tuple[str | None, dict[str, Any]]:
    """The version in production now, and the card with its comparison with just that one.

    `production` is null where there is none or it is this version. The scorecard's own comparison serves if it was
    with that content; otherwise both are compared again. What cannot be compared has a reason, and no scores.
    """
    state = registry.alias_store.state()
    current = state.production
    if current is None or current == number or _same_content(state, current, number):
        return current, {**card, "production": None}
    md5, compared = state.tags[current].get("md5"), card.get("production") or {}
    if md5 and compared.get("md5") == md5:
        return current, {**card, "production": {**compared, "version": int(current)}}
    try:
        fresh = comparison.with_production(project, registry, number, progress)
        return current, fresh or {**card, "production": None}
    except (comparison.NotComparable, StoreError) as error:
        return current, {**card, "production": {"version": int(current), "reason": str(error)}}


def _same_content(state: AliasState, one: str | None, other: str) -> bool:
    return one is not None and state.tags[one].get("md5") == state.tags[other]["md5"]


def _decide(
    context: dg.AssetExecutionContext,
    registry: Registry,
    config: Config,
    number: str,
    current: str | None,
    gate_result: GateResult,
) -> tuple[list[str], bool]:
    """Why it may not become production, and whether it did."""
    state, refusals = registry.alias_store.state(), gate_result.by_scorecard
    if state.was_rolled_back(number):
        forcing = command(f"promote {number} --force --why REASON", registry.character)
        refusals.append(f"version {number} was rolled back: {forcing} if you are sure")
    elif current != number and _same_content(state, current, number):
        why = f"the content of version {current}, of which something is gone"
        registry.alias_store.promote(number, who(context), why, judged_against=current)
        return [], True
    if refusals:
        return refusals, False
    registry.alias_store.set_alias("candidate", number)
    if gate_result.by_shadow:
        return gate_result.by_shadow, False
    if not config.auto_promote or config.approvals > 1 or number == current:
        return [], False
    why = "passed the gate" if gate_result.compared else "passed the gate; nothing was in production"
    registry.alias_store.promote(number, who(context), why, gate_result.against(), judged_against=current)
    return [], True


def who(context: dg.AssetExecutionContext) -> str:
    """Who started the run: a person, or a schedule or a sensor.

    Of a run of Dagster's the tag `user` comes first, which its queue sets (run_coordinator.py): all others are as who
    launched the run on a page would have them.
    """
    tags = context.run.tags
    if is_of_command(context.run):
        return user()
    if person := tags.get(USER_TAG):
        return person
    for kind in ("schedule", "sensor"):
        if name := tags.get(f"dagster/{kind}_name"):
            return f"{kind} {name}"
    return f"dagster run {context.run_id[:8]}"


def why_unregistered(registry: Registry, md5: str) -> str:
    """Why the registry has no whole version of this content, "" where it has one. Raises RegistryError."""
    number = registry.number_of(md5)
    return registry.lost(number) if number else f"no version of {registry.name} has it any more"


def why_unregistered_now(settings: Settings, instance: dg.DagsterInstance, character: str) -> str:
    """The same of what the asset made last: Dagster does not know what is deleted in MLflow. Raises RegistryError."""
    made = latest(instance, NAME, character)
    return why_unregistered(Registry(Tracking.of(settings), character), made.md5) if made else ""


def _registered(
    context: dg.AssetExecutionContext,
    project: Project,
    registry: Registry,
    folder: Path,
    md5: str,
    versions: Mapping[str, Version],
    scorecard: Mapping[str, Any],
    belongs_to: str,
) -> str:
    """The version that has this content: an older one where it was registered before, else a new one."""
    inputs, profile = ancestors(versions), accepted_profile.name_of(project.settings)
    scores = {score["path"]: score["value"] for score in card_scores.main(scorecard) if score["value"] is not None}
    if not why_unregistered(registry, md5) and (known := registry.with_md5(md5)):
        number = str(known.version)
        registry.log_card(number, scorecard)
        log_scores(registry.tracking, str(known.run_id), str(known.source), scores)
        registry.note_scored(known, inputs)
        return number
    tracking = registry.tracking
    ref = AssetRef(STAGE, registry.character)
    configs = {name: versions[name].metadata.get("config") or {} for name in NETWORKS}
    with tracking.run(str(ref), run_tags(context, ref, profile, belongs_to)) as run:
        close_abandoned(context, tracking, run, ref)
        run.inputs(inputs)
        run.document(scorecard, "scorecard.json")
        example, params = _example(project, inputs), {"profile": profile, **flatten(configs)}
        tags = {
            "md5": md5,
            "dagster.run_id": context.run_id,
            "git.commit": git_commit(),
            "character": registry.character,
            "profile": profile,
            RETRAINING: belongs_to,
            **{f"{INPUT}{asset}": value for asset, value in inputs.items()},
        }
        return log_model(tracking, run.run_id, folder, registry.name, example, params, scores, tags)


def _example(project: Project, inputs: Mapping[str, str]) -> bytes | None:
    """A photo for people to try a version with: a portrait of nobody who exists; None where there is none to be had."""
    from pyarrow import parquet

    if "portraits" not in inputs:
        return None
    try:
        folder = project.fetch("portraits", Version("portraits", None, inputs["portraits"]))
        with parquet.ParquetFile(folder / "portraits.parquet") as table:
            return next(table.iter_batches(1, columns=["image"]))["image"][0].as_py()
    except (StoreError, OSError, KeyError, StopIteration):
        return None
