"""What served photos are like, in bins: by day, by version, and for Prometheus."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from serving import statistics
from serving.app import build
from serving.configuration import ServiceSettings
from serving.metrics import PhotoMetrics
from serving.photo_counts import (
    EDGES,
    PhotoCounts,
    beside_training,
    distributions,
    labels,
    read_days,
    stability_index,
    training_file,
)
from serving.statistics import ServedStatistics
from serving.workers.model_manager import ServedPrediction
from serving.workers.process import READ, PredictResult
from tests.serving import support
from tests.serving.api_client import post, ready
from tests.serving.support import OBAMA, Shelf, astronaut

REMARK = {"code": "dark", "text": "the face is very dark"}


def prediction(version: int = 1, yaw: float = 3.0, *remarks: dict[str, str]) -> ServedPrediction:
    """A photo that was read."""
    hair = {"choice": "short", "probabilities": {"short": 0.7, "long": 0.3}}
    photo = {"yaw": yaw, "pitch": 0.0, "box": [10.0, 10.0, 110.0, 150.0], "remarks": list(remarks)}
    result = PredictResult(
        READ, named={"discrete": {"hair": hair}}, photo=photo, quality={"brightness": 0.5, "sharpness": 90.0}
    )
    return ServedPrediction(support.release(version), "", result)


def observed(folder: Path | None, *predictions: ServedPrediction) -> CollectorRegistry:
    """A service that reads these photos and stops."""
    registry = CollectorRegistry()

    async def serve() -> None:
        async with ServedStatistics(PhotoMetrics(registry), folder, days=90) as counting:
            for one in predictions:
                counting.observe(one)

    asyncio.run(serve())
    return registry


def test_photos_are_counted_by_day_and_version_and_nothing_else_is_kept(tmp_path: Path) -> None:
    observed(tmp_path, prediction(), prediction(1, 31.0, REMARK), prediction(2))
    observed(tmp_path, prediction())
    found = list(read_days(tmp_path))
    assert sorted((each.version.version, each.photos) for each in found) == [(1, 1), (1, 2), (2, 1)]
    total = sum(found, PhotoCounts())
    assert total.photos == 4 and total.remarks == {"none": 3, "dark": 1}
    shown = distributions(total)
    assert (shown["yaw"]["0 to 5"], shown["yaw"]["30 to 45"], shown["face_size"]["128 to 192"]) == (3, 1, 4)
    assert shown["choices.hair"] == {"short": 4} and shown["probability.hair"]["0.6 to 0.7"] == 4
    assert {each.day for each in found} == {datetime.now(UTC).date()}
    assert not any("31" in json.dumps(each.quantities) for each in found), "no photo's own value"


def test_prometheus_has_the_same_bins() -> None:
    registry = observed(None, prediction(1, 30.0), prediction(1, 31.0))
    assert registry.get_sample_value("likeness_photo_yaw_bucket", {"le": "30.0"}) == 1
    assert registry.get_sample_value("likeness_photo_yaw_bucket", {"le": "45.0"}) == 2
    assert registry.get_sample_value("likeness_photo_remarks_total", {"remark": "none"}) == 2
    assert registry.get_sample_value("likeness_choices_total", {"group": "hair", "choice": "short"}) == 2
    counts = PhotoCounts()
    counts.add({"yaw": 30.0}, [], {})
    assert distributions(counts)["yaw"]["20 to 30"] == 1, "an edge belongs to the bin below it"


def test_what_is_old_goes(tmp_path: Path) -> None:
    observed(tmp_path, prediction())
    (file,) = tmp_path.glob("*.json")
    for days, stays in ((80, True), (100, False)):
        day = str(datetime.now(UTC).date() - timedelta(days=days))
        (old := tmp_path / file.name.replace(file.name[:10], day)).write_text(file.read_text())
        observed(tmp_path, prediction())
        assert old.exists() is stays


def test_a_file_that_is_none_is_passed_over(tmp_path: Path) -> None:
    observed(tmp_path, prediction())
    (tmp_path / "2026-01-01-1-x.json").write_text('{"photos": ')
    assert len(list(read_days(tmp_path))) == 1


def test_todays_photos_are_held_against_those_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "FEWEST", 20)
    observed(tmp_path, *[prediction() for _ in range(20)])
    (day,) = read_days(tmp_path)
    training = training_file(tmp_path, day.version)
    training.parent.mkdir()
    training.write_text(PhotoCounts(**{**day.model_dump(), "remarks": {"none": 10, "dark": 10}}).model_dump_json())
    few = observed(tmp_path, *[prediction() for _ in range(19)])
    assert few.get_sample_value("likeness_photo_drift", {"distribution": "yaw"}) is None, "few photos say nothing"
    enough = observed(tmp_path, *[prediction() for _ in range(20)])
    assert enough.get_sample_value("likeness_photo_drift", {"distribution": "yaw"}) == 0
    drift = enough.get_sample_value("likeness_photo_drift", {"distribution": "remarks"})
    assert drift is not None and drift > 1
    assert enough.get_sample_value("likeness_training_share", {"distribution": "remarks", "bin": "dark"}) == 0.5


def test_the_index_is_none_of_like_and_grows_with_the_shift() -> None:
    before = {"a": 500, "b": 500}
    assert stability_index(before, {"a": 50, "b": 50}) == pytest.approx(0, abs=1e-3)
    # By hand, of shares .5, .5 and .6, .4 (Σ (q − p) ln(q / p)).
    assert stability_index({"a": 5000, "b": 5000}, {"a": 6000, "b": 4000}) == pytest.approx(0.04055, abs=1e-4)
    assert stability_index(before, {"a": 900, "b": 100}) > 0.7
    assert stability_index(before, {"c": 1000}) < 20, "what was never seen is unlikely, not impossible"


def test_remarks_that_training_cannot_have_are_not_held_against_it() -> None:
    served = PhotoCounts(photos=2, remarks={"small_face": 1, "dark": 1})
    (both,) = beside_training(PhotoCounts(photos=1, remarks={"none": 1}), served)
    assert both == ("remarks", {"none": 1}, {"dark": 1})


def test_every_value_has_one_bin() -> None:
    for edges in EDGES.values():
        assert list(edges) == sorted(set(edges)) and len(labels(edges)) == len(set(labels(edges))) == len(edges) + 1


@pytest.mark.slow
@pytest.mark.parametrize("kept", [False, True])
def test_a_service_counts_what_it_read_and_keeps_it_where_it_is_asked_to(
    saved: Path, tmp_path: Path, kept: bool
) -> None:
    service = ServiceSettings(workers=1, statistics=kept)
    with ready(build(service, Shelf({1: saved}), support.paths(tmp_path))) as client:
        answers: list[dict[str, Any]] = [post(client, photo).json() for photo in (OBAMA.read_bytes(), astronaut())]
        text = client.get("/metrics").text
    for line in ("likeness_photo_brightness_count 2.0", "likeness_photo_face_size_count 2.0"):
        assert line in text
    for group, taken in answers[0]["discrete"].items():
        assert f'likeness_choices_total{{choice="{taken["choice"]}",group="{group}"}}' in text
    days = list(read_days(tmp_path / "statistics"))
    assert [each.photos for each in days] == ([2] if kept else [])
    assert all(sum(bins) == 2 for each in days for bins in each.quantities.values())
