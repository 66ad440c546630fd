"""What a person sees of a failed check on Dagster's pages, from a real server."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pytest
from PIL import Image

from orchestration import checks
from orchestration.checks import results
from orchestration.config.settings import Settings
from orchestration.storage.instance import open_instance
from orchestration.storage.run_pictures import RunPictures
from orchestration.storage.tracking import Tracking
from tests.orchestration import good_tables as good
from tests.orchestration.servers import ask, dagster_pages

pytestmark = pytest.mark.integration
CHECKS = """{ assetNodes(assetKeys: [{path: ["aligned_faces"]}]) { assetChecksOrError { ... on AssetChecks { checks {
  name blocking executionForLatestMaterialization { status evaluation { success description metadataEntries {
    label
    ... on TableMetadataEntry { table { records schema { columns { name type } } } }
    ... on UrlMetadataEntry { url }
    ... on IntMetadataEntry { intValue } } } } } } } } }"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def address(tmp_path: Path, settings: Settings) -> Iterator[str]:
    """A webserver on the project's graph, of which one table was made that has a bad row."""
    rows = [good.face(0), good.face(1, yaw=170.0)]
    tracking = Tracking.of(settings)
    with tracking.run("aligned_faces", {}) as made_by:
        pictures = RunPictures(tracking, made_by.run_id)
    context = good.context("aligned_faces", good.write(tmp_path / "faces", "aligned_faces", rows))
    context = replace(context, pictures=pictures)
    with open_instance(settings) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("aligned_faces"))
        made = results.newest_record(instance, "aligned_faces", None)
        assert made is not None
        for check in checks.checks_of(context.stage, context.rules):
            evaluation = results.as_evaluation(checks.evaluate(check, context), check, made)
            instance.report_runless_asset_event(evaluation)
    with dagster_pages(settings) as url:
        yield url


def test_a_failed_check_shows_its_expectations_its_rows_and_their_pictures(address: str, settings: Settings) -> None:
    (node,) = ask(address, CHECKS)["assetNodes"]
    found = {check["name"]: check for check in node["assetChecksOrError"]["checks"]}
    execution = found["faces_table"]["executionForLatestMaterialization"]
    assert execution["status"] == "FAILED" and found["faces_table"]["blocking"]
    entries = {entry["label"]: entry for entry in execution["evaluation"]["metadataEntries"]}
    (row,) = map(json.loads, entries["failing_rows"]["table"]["records"])
    assert (row["id"], row["column"], row["value"]) == ("portraits/1", "yaw", "170")
    expectations = [json.loads(record) for record in entries["expectations"]["table"]["records"]]
    assert [entry["column"] for entry in expectations if not entry["ok"]] == ["yaw"] and len(expectations) > 30
    page, _, artifact = urlsplit(entries["pictures"]["url"]).fragment.partition("/artifacts/")
    picture = settings.model_files / page.rpartition("/")[2] / "artifacts" / artifact
    assert page.startswith("/experiments/") and Image.open(picture).size == (128, 128)
    assert entries["failing_count"]["intValue"] == 1
    for name in ("quarantine_table", "verification_pairs_table", "faces_drift"):
        assert found[name]["executionForLatestMaterialization"]["status"] == "SUCCEEDED"
