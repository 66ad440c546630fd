"""Tables that break an expectation stop the pipeline, and say which."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from orchestration import checks, pipeline
from orchestration.catalog import STAGES, Stage
from orchestration.progress import Progress
from orchestration.settings import Settings
from stages import tables
from tests.orchestration.conftest import stage

FACES = next(entry for entry in STAGES if entry.name == "aligned_faces")


def face(number: int, **values: Any) -> dict[str, Any]:
    splits = ("train", "val", "test")
    return {
        "id": f"portraits/{number}", "source": "portraits", "person": str(number), "split": splits[number % 3],
        "image": b"x",
        "yaw": 1.0, "pitch": 2.0, "roll": 0.0, "sharpness": 50.0, "brightness": 0.5, "n_faces": 1, "landmarks": [0.0],
    } | values  # fmt: skip


def pair(first: str, second: str, **values: Any) -> dict[str, Any]:
    return {"source": "lfw", "fold": 0, "first": first, "second": second, "same": True} | values


def check(
    folder: Path, faces: list[dict[str, Any]], quarantined: int = 0, pairs: Sequence[dict[str, Any]] = ()
) -> dict[str, str]:
    """Descriptions of the failed checks."""
    tables.write(folder / "verification_pairs.parquet", pairs, tables.VERIFICATION_PAIRS_SCHEMA)
    pd.DataFrame(faces).to_parquet(folder / "faces.parquet")
    reasons = [{"id": f"q{k}", "source": "photos", "reason": "no face"} for k in range(quarantined)]
    pd.DataFrame(reasons, columns=["id", "source", "reason"]).astype("str").to_parquet(folder / "quarantine.parquet")
    return {
        str(result.check_name): str(result.description) for result in checks.results(FACES, folder) if not result.passed
    }


def test_a_good_table_passes(tmp_path: Path) -> None:
    assert check(tmp_path, [face(number) for number in range(6)], quarantined=1) == {}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (face(0), "expect_column_values_to_be_unique id"),
        (face(9, yaw=170.0), "expect_column_values_to_be_between yaw"),
        (face(9, split="holdout"), "expect_column_values_to_be_in_set split"),
        (face(9, person="0", split="test"), "people in more than one split"),
    ],
)
def test_each_broken_expectation_is_named(tmp_path: Path, broken: dict[str, Any], reason: str) -> None:
    failed = check(tmp_path, [*(face(number) for number in range(6)), broken])
    assert reason in failed["faces_table"]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    rows = [{name: value for name, value in face(number).items() if name != "yaw"} for number in range(3)]
    assert check(tmp_path, rows) == {"faces_table": "missing columns: yaw"}


def test_any_photo_set_may_be_a_source(tmp_path: Path) -> None:
    assert check(tmp_path, [face(0, source="celeba"), face(1, source="agedb_30")]) == {}
    assert "regex source" in check(tmp_path, [face(0), face(1, source="Celeb A")])["faces_table"]


def test_pairs_may_name_photos_in_quarantine(tmp_path: Path) -> None:
    faces = [face(number) for number in range(3)]
    assert check(tmp_path, faces, 1, [pair("portraits/0", "q0", fold=9, same=False)]) == {}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (pair("portraits/0", "portraits/7"), "ids in neither faces.parquet nor quarantine.parquet"),
        (pair("portraits/0", "portraits/1", fold=10), "expect_column_values_to_be_between fold"),
        (pair("portraits/0", "portraits/1", same=None), "expect_column_values_to_not_be_null same"),
    ],
)
def test_each_broken_pair_is_named(tmp_path: Path, broken: dict[str, Any], reason: str) -> None:
    failed = check(tmp_path, [face(number) for number in range(3)], pairs=[pair("portraits/0", "portraits/1"), broken])
    assert reason in failed["verification_pairs_table"]


def test_too_many_quarantined_photos_fail(tmp_path: Path) -> None:
    assert "share quarantined 67%" in check(tmp_path, [face(0)], quarantined=2)["quarantine_table"]


def test_a_failed_check_stops_the_run_and_the_asset_is_made_again(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    rows = [face(0), face(0)]

    def write_faces(out: Path, context: Any) -> None:
        pd.DataFrame(rows).to_parquet(out / "faces.parquet")

    faces, after = stage("faces", ("photos",), tables=("faces",)), stage("after", ("faces",))
    faces.module.act = write_faces
    stages: tuple[Stage, ...] = (faces, after)
    progress = Progress(lambda line: None)
    with pytest.raises(pipeline.StageFailed, match="faces_table"):
        pipeline.run(settings, instance, stages, progress, "embedded")
    rows[:] = [face(0), face(1)]
    assert pipeline.run(settings, instance, stages, progress, "embedded").made == ["faces", "after"]
