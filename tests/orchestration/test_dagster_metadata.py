"""What Dagster's pages show: pictures and charts in one entry of bounded size, tables, files, links."""

import base64
import io
import re
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from orchestration.config.catalog import STAGES
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline.runner import run
from orchestration.storage import charts, dagster_metadata
from orchestration.storage.charts import Curve
from orchestration.storage.instance import open_instance
from orchestration.storage.thumbnails import BUDGET, one_page
from orchestration.storage.versions import latest
from tests.orchestration.conftest import stage


def noise(path: Path, side: int) -> Path:
    pixels = np.random.default_rng(side).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def images(markdown: str) -> dict[str, Image.Image]:
    found = re.findall(r"!\[(.+?)]\(data:image/webp;base64,([^)]+)\)", markdown)
    return {name: Image.open(io.BytesIO(base64.b64decode(data))) for name, data in found}


def curve(values: list[float]) -> Curve:
    made = Curve()
    for step, value in enumerate(values):
        made.add(10 * step, value)
    return made


@pytest.mark.slow
def test_pictures_of_one_event_share_its_budget_and_small_ones_stay_as_they_are(tmp_path: Path) -> None:
    paths = {f"large{n}": noise(tmp_path / f"{n}.png", 900 + n) for n in range(3)} | {
        "small": noise(tmp_path / "small.png", 64)
    }
    page = one_page(paths).value
    assert len(page) <= BUDGET * 1.01
    shown = images(page)
    assert list(shown) == list(paths)
    assert shown["small"].size == (64, 64) and 250 < shown["large0"].size[0] < 900


def test_a_training_has_a_panel_for_each_metric_and_none_for_what_was_logged_once() -> None:
    history = {
        "encoder/loss": curve([3.0, 1.0, 0.1]),
        "encoder/steps_per_second": curve([1.0, 2.0]),
        "mean": curve([1.0]),
    }
    history |= {f"encoder/{domain}_r2": curve([0.1, 0.2, 0.3]) for domain in ("photos", "pairs")}
    one_row = Image.open(io.BytesIO(charts.trainings(history)["encoder"])).size
    assert one_row == (int(2 * 100 * charts.PANEL[0]), int(100 * charts.PANEL[1])), (
        "loss, and r2 of both domains in one"
    )
    assert charts.trainings({"encoder/loss": curve([1.0])}) == {}


def test_a_table_shows_the_distribution_of_its_plain_columns_alone(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {"id": ["a", "b", "c", "d"], "split": ["train", "train", "test", "val"], "yaw": [1.0, -3, 4, 9]}
    )
    rows["reason"], rows["landmarks"], rows["constant"] = ["dark", "dark", "small", "dark"], [[1.0, 2.0]] * 4, 1
    rows.to_parquet(tmp_path / "faces.parquet")
    png = charts.table(tmp_path / "faces.parquet")
    assert png and Image.open(io.BytesIO(png)).size[0] == int(2 * 100 * charts.PANEL[0]), "yaw and reason"
    rows[["id", "split"]].head(0).to_parquet(tmp_path / "empty.parquet")
    assert charts.table(tmp_path / "empty.parquet") is None


def test_a_version_shows_pictures_charts_columns_rows_files_and_where_it_lies(settings: Settings) -> None:
    def act(out: Path, context) -> None:
        noise(out / "sheet.png", 100)
        pd.DataFrame({"yaw": [1.0, 2.0, 4.0], "kind": ["a", "b", "a"]}).to_parquet(out / "faces.parquet")
        for step in range(3):
            context.log({"faces/loss": 1.0 / (step + 1)}, step)

    made = stage("faces", ("photos",))
    made.code.act = act  # type: ignore[attr-defined]
    with open_instance(settings) as instance:
        run(settings, instance, (made,), Progress(lambda line: None), "embedded")
        version, source = latest(instance, "faces"), latest(instance, "photos")
    assert version and source
    assert list(images(str(version.metadata["charts"]))) == ["faces by step", "faces distributions"]
    assert str(version.metadata["pictures"]) == f"{version.metadata['mlflow_run']}/artifacts", "it was made from photos"
    assert version.metadata["rows_faces"] == version.metadata["dagster/row_count"] == 3
    assert [column.name for column in version.metadata["dagster/column_schema"].columns] == ["yaw", "kind"]
    assert version.metadata["dagster/uri"] == (settings.root / "artifacts" / "faces").as_uri()
    assert version.metadata["files"] == 3 and version.metadata["bytes"] > 1000
    files = source.metadata["largest files"]
    assert source.metadata["files"] == len(files.records) == 1


def test_pictures_of_synthetic_people_stand_in_the_record_and_photos_do_not(tmp_path: Path) -> None:
    for name in ("portraits", "photos"):
        (tmp_path / name).mkdir()
        noise(tmp_path / name / "sheet.png", 100)
    assert list(images(dagster_metadata.of_output(tmp_path / "portraits", {})["pictures"].value)) == ["sheet"]
    link = dg.MetadataValue.url("http://mlflow/#/experiments/1/runs/a/artifacts")
    assert dagster_metadata.of_output(tmp_path / "photos", {}, link)["pictures"] == link
    assert "pictures" not in dagster_metadata.of_source(tmp_path / "photos")


def test_a_source_shows_a_sheet_of_its_pictures_and_passes_over_what_is_none(tmp_path: Path) -> None:
    for number in range(3):
        noise(tmp_path / f"{number}.jpg", 200)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    markdown = dagster_metadata.of_source(tmp_path)["pictures"].value
    (sheet,) = images(markdown).values()
    assert "4 pictures" in markdown and sheet.size == (4 * dagster_metadata.SAMPLE_SIDE, dagster_metadata.SAMPLE_SIDE)


def test_a_picture_too_large_to_be_read_is_left_out_of_the_sheet_and_told(tmp_path: Path) -> None:
    """Of 200 megapixels, as some phones take them: more than Pillow opens by itself."""
    noise(tmp_path / "good.png", 120)
    Image.new("L", (16_320, 12_240)).save(tmp_path / "large.png")
    (tmp_path / "empty.jpg").write_bytes(b"")
    about = dagster_metadata.of_source(tmp_path)
    (sheet,) = images(about["pictures"].value).values()
    assert sheet.size == (3 * dagster_metadata.SAMPLE_SIDE, dagster_metadata.SAMPLE_SIDE)
    assert about["pictures that cannot be shown"] == "2 of the 3 in this sheet; the first: empty.jpg: the file is empty"


def test_what_cannot_be_shown_fails_nothing_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "sheet.png").write_bytes(b"no picture")
    (tmp_path / "rows.parquet").write_bytes(b"no table")
    source, output = dagster_metadata.of_source(tmp_path), dagster_metadata.of_output(tmp_path, {})
    assert source["files"] == output["files"] == 3
    assert source["schema cannot be shown"].startswith("UnicodeDecodeError")
    assert output["table cannot be shown"].startswith("ArrowInvalid")
    (tmp_path / "rows.parquet").unlink()
    assert dagster_metadata.of_output(tmp_path, {})["pictures cannot be shown"].startswith("BadImage")


@pytest.mark.parametrize("name", [entry.name for entry in STAGES])
def test_every_stage_links_to_its_code(name: str) -> None:
    (reference,) = dagster_metadata.code_of(name)["dagster/code_references"].code_references
    assert isinstance(reference, dg.LocalFileCodeReference) and Path(reference.file_path).exists()
