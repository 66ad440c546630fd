"""Dagster's pages on the real graph, from a real server."""

from collections.abc import Iterator

import pytest

from orchestration.config.catalog import SOURCES, STAGES
from orchestration.config.settings import Settings
from orchestration.pipeline import corrections, served_photos
from orchestration.pipeline.production_encoder import NAME
from orchestration.pipeline.sensors import AUTOMATION, SCAN, SCHEDULE, SENSOR
from orchestration.storage.instance import open_instance
from tests.orchestration.servers import ask, dagster_pages

pytestmark = pytest.mark.integration
GRAPH = """{ assetNodes { assetKey { path } groupName dependencyKeys { path } partitionKeys opVersion
             assetChecksOrError { ... on AssetChecks { checks { name } } } } }"""

AUTOMATED = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
                 sensors { name sensorType sensorState { status } }
                 schedules { name cronSchedule executionTimezone scheduleState { status } } } } }
                 assetNodes { assetKey { path } automationCondition { label } } }"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a webserver on the project's definitions answers."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with open_instance(settings):
        pass
    with dagster_pages(settings) as url:
        yield url


def test_the_server_shows_every_asset_with_its_inputs(address: str) -> None:
    nodes = {node["assetKey"]["path"][-1]: node for node in ask(address, GRAPH)["assetNodes"]}
    assert set(nodes) == {*SOURCES, *(stage.name for stage in STAGES), NAME, SCAN, served_photos.NAME, corrections.NAME}
    for stage in STAGES:
        found = {key["path"][-1] for key in nodes[stage.name]["dependencyKeys"]}
        assert found == {"characters" if name == "character" else name for name in stage.code.INPUTS}


def test_the_server_partitions_by_character_what_is_made_for_each(address: str) -> None:
    nodes = {node["assetKey"]["path"][-1]: node for node in ask(address, GRAPH)["assetNodes"]}
    names = Settings().character_names()
    for stage in STAGES:
        assert nodes[stage.name]["partitionKeys"] == (names if stage.by_character else []), stage.name


def test_the_server_lists_the_checks_of_every_table(address: str) -> None:
    nodes = {node["assetKey"]["path"][-1]: node for node in ask(address, GRAPH)["assetNodes"]}
    for stage in STAGES:
        checks = nodes[stage.name]["assetChecksOrError"].get("checks", [])
        assert len(checks) >= len(stage.tables), stage.name


def test_the_server_lists_what_retrains_by_itself_and_that_it_is_running(address: str) -> None:
    answer = ask(address, AUTOMATED)
    (repository,) = answer["repositoriesOrError"]["nodes"]
    sensors = {sensor["name"]: sensor["sensorState"]["status"] for sensor in repository["sensors"]}
    assert sensors == dict.fromkeys(
        (SENSOR, AUTOMATION, "failures", "verdicts", "lost_retries", "moved_outside"), "RUNNING"
    )
    schedules = {schedule["name"]: schedule for schedule in repository["schedules"]}
    schedule = schedules.pop(SCHEDULE)
    assert schedule["scheduleState"]["status"] == "RUNNING"
    assert {name: one["scheduleState"]["status"] for name, one in schedules.items()} == {
        served_photos.SCHEDULE: "STOPPED",
        corrections.SCHEDULE: "STOPPED",
    }
    assert (schedule["cronSchedule"], schedule["executionTimezone"]) == ("0 3 * * 1", "UTC")
    labels = {node["assetKey"]["path"][-1]: node["automationCondition"] for node in answer["assetNodes"]}
    made = {*(stage.name for stage in STAGES), NAME}
    assert {name for name, condition in labels.items() if condition and condition["label"] == "retrain"} == made
