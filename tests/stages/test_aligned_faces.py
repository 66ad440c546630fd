from pathlib import Path

import numpy as np
import pytest

from models import images
from models.alignment import REFERENCE, five_points
from stages import aligned_faces, tables
from stages.aligned_faces import Config
from stages.context import Context
from tests.stages import small_tables


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("aligned")
    photos = root / "photos"
    for path in small_tables.PHOTOS:
        target = photos / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (photos / "sunak" / "broken.jpg").write_bytes(b"no picture")
    (photos / "CREDITS.md").write_text("who took them")
    return {
        "embedded": small_tables.embedded(root / "embedded"),
        "portraits": small_tables.portraits(root / "portraits", bad=True),
        "photos": photos,
    }


def _run(inputs: dict[str, Path], out: Path, config: Config, workers: int = 1) -> dict[str, float]:
    out.mkdir()
    return aligned_faces.run(inputs, config, out, Context(workers=workers))


def test_portraits_and_photos_are_aligned_alike(inputs: dict[str, Path], tmp_path: Path) -> None:
    metrics = _run(inputs, tmp_path / "out", Config())
    assert metrics == {"portraits": 12, "photos": 6, "quarantined": 3, "quarantined_share": pytest.approx(3 / 21)}
    faces = tables.read(tmp_path / "out" / "faces.parquet")
    assert faces["id"].iloc[0] == "portraits/00000" and faces["id"].iloc[-1] == "photos/sunak/sunak.jpg"
    real = faces[faces["source"] == "photos"]
    assert set(real["split"]) == {"test"} and real["labels"].isna().all() and real["parameters"].isna().all()
    assert set(real["person"]) == {"ardern", "macron", "obama", "sunak"}
    for landmarks in tables.stack(faces["landmarks"]).reshape(-1, 68, 2):
        assert np.linalg.norm(five_points(landmarks) / 256 - five_points(REFERENCE), axis=1).mean() < 0.04
    first = faces.iloc[0]
    assert images.decode(first["image"]).shape == (256, 256, 3)
    labels = images.decode_labels(first["labels"])
    assert labels.shape == (256, 256) and set(np.unique(labels)) <= {0, 1, 4}
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {"portraits.png", "photos.png"}


def test_each_quarantined_photo_has_its_reason(inputs: dict[str, Path], tmp_path: Path) -> None:
    _run(inputs, tmp_path / "out", Config(min_eye_distance=40.0))
    quarantine = tables.read(tmp_path / "out" / "quarantine.parquet").set_index("id")["reason"]
    assert quarantine["portraits/blank"] == "no face found"
    assert quarantine["portraits/broken"].startswith("unreadable")
    assert quarantine["photos/sunak/broken.jpg"].startswith("unreadable")
    assert "too small" in quarantine["photos/macron/macron_2014.jpg"]


def test_side_views_can_be_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    _run(inputs, tmp_path / "out", Config(max_yaw=6.0))
    quarantine = tables.read(tmp_path / "out" / "quarantine.parquet").set_index("id")["reason"]
    assert "from the side" in quarantine["photos/macron/macron_2025.jpg"]


def test_the_number_of_processes_does_not_change_a_byte(inputs: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(aligned_faces, "CHUNK", 5)
    for name, workers in (("one", 1), ("two", 2)):
        _run(inputs, tmp_path / name, Config(), workers)
    for file in ("faces.parquet", "quarantine.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
