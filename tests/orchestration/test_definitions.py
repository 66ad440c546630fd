"""The graph that Dagster loads."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg

import orchestration
from orchestration.checks.suites import SUITES
from orchestration.config.catalog import SOURCES, STAGES, Stage
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.pipeline.definitions import build
from orchestration.pipeline.executors import executor

GRAPH = {
    "portraits": {"embedded", "characters"},
    "aligned_faces": {"embedded", "photos", "portraits"},
    "identity_model": {"embedded", "aligned_faces"},
    "parsing_model": {"aligned_faces"},
    "rendered_pairs": {"embedded", "characters"},
    "imitator": {"rendered_pairs", "characters"},
    "identity_imitator": {"rendered_pairs", "identity_model", "characters"},
    "encoder": {
        "aligned_faces",
        "identity_model",
        "parsing_model",
        "rendered_pairs",
        "imitator",
        "identity_imitator",
        "characters",
    },
}


def test_the_real_graph_loads_with_every_edge_of_the_design() -> None:
    graph = build(Settings()).resolve_asset_graph()
    for asset, parents in GRAPH.items():
        found = {key.to_user_string() for key in graph.get(dg.AssetKey(asset)).parent_keys}
        assert parents <= found, asset
    assert dg.AssetKey("encoder") in graph.get(dg.AssetKey("scorecard")).parent_keys
    assert dg.AssetKey("scorecard") in graph.get(dg.AssetKey("production_encoder")).parent_keys


def test_an_entry_of_the_catalog_names_only_what_there_is() -> None:
    """A slip in INPUTS, by_character or a suite's name would show only when the asset is made."""
    earlier: dict[str, Stage] = {}
    for stage in STAGES:
        assert set(stage.code.INPUTS) <= {*earlier, *SOURCES, "character"}, stage.name
        for name in stage.code.INPUTS:
            assert stage.by_character or name not in earlier or not earlier[name].by_character, (stage.name, name)
        assert {*stage.tables, *stage.warnings, *stage.drift} <= SUITES.keys(), stage.name
        earlier[stage.name] = stage


def test_string_selections_work_beside_dvc(settings: Settings, stages: tuple[Stage, ...]) -> None:
    import dvc.repo  # noqa: F401  (its hydra used to bring an antlr4 that broke every string selection)

    graph = build(settings, stages).resolve_asset_graph()
    selected = dg.AssetSelection.from_string("key:faces+").resolve(graph)
    assert {key.to_user_string() for key in selected} == {"faces", "encoder"}


def test_every_stage_waits_for_its_turn_on_the_device(settings: Settings, stages: tuple[Stage, ...]) -> None:
    graph = build(settings, stages).resolve_asset_graph()
    assert {graph.get(dg.AssetKey(stage.name)).pools == {"device"} for stage in stages} == {True}


def test_dagster_launches_steps_from_a_forkserver(settings: Settings) -> None:
    assert executor(settings).name == "multiprocess"
    assert executor(settings.model_copy(update={"executor": "in_process"})) is dg.in_process_executor


def test_no_library_is_left_to_phone_home() -> None:
    assert Path(orchestration.__file__).is_file()
    switches = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DVC_NO_ANALYTICS": "1",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "RAY_USAGE_STATS_ENABLED": "0",
        "GX_ANALYTICS_ENABLED": "false",
    }
    assert {name: os.environ.get(name) for name in switches} == switches
    assert "analytics = false" in (REPOSITORY / ".dvc" / "config").read_text()


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    heavy = "{'torch', 'mlflow', 'dagster', 'dvc', 'great_expectations', 'mediapipe', 'numpy', 'pandas', 'sqlalchemy'}"
    code = f"import sys, orchestration.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
