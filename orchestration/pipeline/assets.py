"""The asset graph: three observed sources, one asset for each stage, and the registered model at the end.

    embedded ─┬─ portraits ─┐
    photos ───┼─────────────┴─ aligned_faces ─┬─ identity_model ─┐
              │                               └─ parsing_model ──┤
    characters┴─ rendered_pairs ─┬─ imitator ────────────────────┼─ encoder ─ scorecard ─ production_encoder
                                 └─ identity_imitator ───────────┘

An asset is a thin adapter: it fetches its inputs by md5, gives its stage a device and a tracked run, and hands what the
stage wrote to DVC, whose md5 is the data version.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import dagster as dg

from orchestration import checks
from orchestration.config.catalog import SOURCES
from orchestration.config.declarations import Declaration
from orchestration.config.progress import into_log
from orchestration.pipeline import executors, production_encoder
from orchestration.pipeline.automation import NOT_FRESH, NotRegistered, retrain
from orchestration.pipeline.materialize import materialize
from orchestration.pipeline.retry_policy import RETRY_POLICY, only_transient_is_retried
from orchestration.storage.dagster_metadata import code_of
from orchestration.storage.project import EMBEDDED, AssetRef, Graph
from orchestration.storage.tracking import Tracking

# Observable sources are beta in Dagster, and it says so for each of them at every start.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

OWNERS = ["team:likeness"]


def source_assets(graph: Graph) -> list[dg.SourceAsset]:
    """data/embedded, data/photos and characters/*: observed, versioned by the md5 of their subtree."""
    return [_source("embedded", graph), _source("photos", graph), _characters(graph)]


def _source(name: str, graph: Graph) -> dg.SourceAsset:
    @dg.observable_source_asset(name=name, group_name="data", description=SOURCES[name])
    def observe(context: dg.OpExecutionContext) -> dg.DataVersion:
        return dg.DataVersion(graph.on(context.instance).hash_source(name))

    return observe


def _characters(graph: Graph) -> dg.SourceAsset:
    @dg.observable_source_asset(
        name="characters", group_name="data", description=SOURCES["characters"], partitions_def=graph.characters
    )
    def observe(context: dg.OpExecutionContext) -> dg.DataVersionsByPartition:
        names = graph.characters.get_partition_keys()
        project = graph.on(context.instance)
        return dg.DataVersionsByPartition({name: project.hash_source("character", name) for name in names})

    return observe


def stage_asset(declared: Declaration, graph: Graph) -> dg.AssetsDefinition:
    """The asset of one stage."""
    stage = declared.stage

    @dg.asset(
        name=stage.name,
        deps=dependencies(declared.inputs, stage.by_character),
        partitions_def=graph.characters if stage.by_character else None,
        group_name=stage.group,
        kinds=set(stage.kinds),
        description=stage.description,
        owners=OWNERS,
        code_version=declared.code_version,
        pool=executors.pool(stage, graph.settings),
        op_tags=executors.op_tags(stage, graph.settings),
        check_specs=checks.specs(stage, graph.rules),
        metadata=code_of(stage.name),
        automation_condition=retrain(graph.settings, graph.stages.values()),
        retry_policy=RETRY_POLICY,
    )
    def materialise(
        context: dg.AssetExecutionContext, tracking: dg.ResourceParam[Tracking], progress: dg.ResourceParam[Any]
    ) -> dg.MaterializeResult:
        executors.tie_step_to_run(graph.settings)
        shown = progress or into_log(context.log)
        with only_transient_is_retried(shown.show, attended=progress is not None):
            ref = AssetRef(stage, context.partition_key if stage.by_character else None)
            return materialize(context, graph.on(context.instance), ref, declared.config(), tracking, shown)

    return materialise


def dependencies(inputs: Sequence[str], by_character: bool) -> list[dg.AssetDep]:
    """Stage inputs as Dagster's: what is not made for each character reads the embedded one alone."""
    only_embedded = None if by_character else dg.SpecificPartitionsPartitionMapping([EMBEDDED])
    return [
        dg.AssetDep("characters", partition_mapping=only_embedded) if name == "character" else dg.AssetDep(name)
        for name in inputs
    ]


def production_asset(declared: Declaration, graph: Graph) -> dg.AssetsDefinition:
    """The encoder as a registered model, with the aliases that the gate allows."""

    @dg.asset(
        name=production_encoder.NAME,
        deps=dependencies(production_encoder.INPUTS, True),
        partitions_def=graph.characters,
        group_name="production",
        kinds={"mlflow", "torch", "dvc"},
        description="The encoder, registered with all that it needs to read a photo; the gate decides on production.",
        owners=OWNERS,
        code_version=declared.code_version,
        op_tags=executors.op_tags(production_encoder.STAGE, graph.settings),
        check_specs=[
            dg.AssetCheckSpec(
                production_encoder.GATE, asset=production_encoder.NAME, description="Good enough for production?"
            )
        ],
        automation_condition=retrain(graph.settings, graph.stages.values(), NOT_FRESH | NotRegistered(graph.settings)),
        retry_policy=RETRY_POLICY,
    )
    def materialise(
        context: dg.AssetExecutionContext, tracking: dg.ResourceParam[Tracking], progress: dg.ResourceParam[Any]
    ) -> dg.MaterializeResult:
        executors.tie_step_to_run(graph.settings)
        shown = progress or into_log(context.log)
        with only_transient_is_retried(shown.show, attended=progress is not None):
            project = graph.on(context.instance)
            return production_encoder.register(context, declared.config(), project, tracking, shown)

    return materialise


def all_assets(graph: Graph) -> list[dg.AssetsDefinition | dg.SourceAsset]:
    """Every node of the graph, in the order of the pipeline. Raises ProfileError, and ExecutorError."""
    executors.check_names(graph.settings, list(graph.stages.values()))
    made = [
        production_asset(declared, graph)
        if declared.stage is production_encoder.STAGE
        else stage_asset(declared, graph)
        for declared in graph.declarations.values()
    ]
    return [*source_assets(graph), *made]
