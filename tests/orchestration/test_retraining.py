"""The sensor, the schedule and the evaluation of conditions as Dagster's daemon calls them."""

import os
from pathlib import Path

import dagster as dg
import pytest

from orchestration.checks.staleness import why_not_fresh
from orchestration.config.catalog import Stage
from orchestration.config.settings import Settings
from orchestration.pipeline import sensors
from orchestration.pipeline.definitions import build
from orchestration.pipeline.sensors import BadSchedule, decide, fingerprint
from orchestration.storage.versions import observe


def look(cursor: str | None, **now: str) -> dg.SensorResult:
    return decide(now, cursor)


def test_a_change_starts_a_look_once_two_looks_see_the_same() -> None:
    cursor = look(look(None, photos="a").cursor, photos="a").cursor
    first = look(cursor, photos="b")
    assert not first.run_requests and first.skip_reason
    assert "photos changed: waiting" in str(first.skip_reason.skip_message)
    second = look(first.cursor, photos="b")
    assert [request.tags["likeness/changed"] for request in second.run_requests or []] == ["photos"]
    third = look(second.cursor, photos="b")
    assert not third.run_requests
    assert third.skip_reason and third.skip_reason.skip_message == "nothing changed"


def test_a_folder_that_is_still_being_copied_starts_nothing() -> None:
    cursor: str | None = None
    for state in ("a", "b", "c", "d"):
        result = look(cursor, photos=state)
        assert not result.run_requests, state
        cursor = result.cursor
    assert look(cursor, photos="d").run_requests


def test_a_change_that_is_taken_back_is_looked_at_too() -> None:
    cursor: str | None = None
    looks = []
    for state in ("a", "a", "b", "b", "a", "a"):
        result = look(cursor, photos=state)
        looks.append(bool(result.run_requests))
        cursor = result.cursor
    assert looks == [False, True, False, True, False, True]


def test_a_source_that_another_look_found_changing_holds_the_first_one_back_only_while_it_changes() -> None:
    cursor = look(look(None, photos="a", embedded="a").cursor, photos="a", embedded="a").cursor
    cursor = look(cursor, photos="b", embedded="a").cursor
    waiting = look(cursor, photos="b", embedded="b")
    assert not waiting.run_requests
    assert look(waiting.cursor, photos="b", embedded="b").run_requests


def test_a_fingerprint_sees_names_sizes_and_times_and_reads_no_bytes(tmp_path: Path) -> None:
    photo = tmp_path / "someone" / "1.jpg"
    photo.parent.mkdir()
    photo.write_bytes(b"a")
    photo.chmod(0)
    seen = [fingerprint(tmp_path)]
    os.utime(photo, ns=(0, photo.stat().st_mtime_ns + 1))
    seen.append(fingerprint(tmp_path))
    photo.rename(photo.with_name("2.jpg"))
    seen.append(fingerprint(tmp_path))
    assert len(set(seen)) == 3
    assert fingerprint(tmp_path) == seen[-1]


def test_the_sensor_says_what_to_do_where_nothing_was_ever_run(
    settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]
) -> None:
    sensor = build(settings, stages).resolve_sensor_def(sensors.SENSOR)
    tick = sensor.evaluate_tick(dg.build_sensor_context(instance))
    assert tick.skip_message == "no source was ever looked at: start with `likeness run`"


def test_a_missing_source_is_a_reason_to_skip_and_no_error(
    settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]
) -> None:
    observe(instance, "photos", "0.dir")
    (settings.data / "photos").rename(settings.data / "elsewhere")
    sensor = build(settings, stages).resolve_sensor_def(sensors.SENSOR)
    tick = sensor.evaluate_tick(dg.build_sensor_context(instance))
    assert "photos is missing" in str(tick.skip_message)


def test_conditions_are_evaluated_in_the_code_server_and_ask_for_one_run_a_wave(
    settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]
) -> None:
    definitions = build(settings, stages)
    for source in ("embedded", "photos"):
        observe(instance, source, "0.dir")
    observe(instance, "characters", "0.dir", "embedded")
    sensor = definitions.resolve_sensor_def(sensors.AUTOMATION)
    context = dg.build_sensor_context(instance, repository_def=definitions.get_repository_def())
    tick = sensor.evaluate_tick(context)
    asked = {
        (*(key.to_user_string() for key in request.asset_selection or ()), request.partition_key)
        for request in tick.run_requests or ()
    }
    assert asked == {("portraits", None), ("pairs", "embedded")}
    assert all(request.tags["likeness/automation"] == "true" for request in tick.run_requests or ())
    assert why_not_fresh(definitions, instance, "portraits") == "missing"


def test_the_weekly_schedule_asks_for_a_look_in_its_time_zone(
    settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]
) -> None:
    own = settings.model_copy(update={"retrain_cron": "30 4 * * 6", "retrain_timezone": "Europe/Berlin"})
    schedule = build(own, stages).resolve_schedule_def(sensors.SCHEDULE)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 4 * * 6", "Europe/Berlin")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert len(schedule.evaluate_tick(dg.build_schedule_context(instance)).run_requests or ()) == 1


def test_automation_can_be_off_from_the_start(settings: Settings, stages: tuple[Stage, ...]) -> None:
    definitions = build(settings.model_copy(update={"automation": "off"}), stages)
    stopped = dg.DefaultSensorStatus.STOPPED
    for name in (sensors.SENSOR, sensors.AUTOMATION):
        assert definitions.resolve_sensor_def(name).default_status == stopped
    assert definitions.resolve_schedule_def(sensors.SCHEDULE).default_status == dg.DefaultScheduleStatus.STOPPED


@pytest.mark.parametrize("change", [{"retrain_cron": "sometimes"}, {"retrain_timezone": "Mars/Olympus"}])
def test_a_weekly_time_that_is_none_says_how_to_write_one(
    settings: Settings, stages: tuple[Stage, ...], change: dict[str, str]
) -> None:
    with pytest.raises(BadSchedule, match="write it like"):
        build(settings.model_copy(update=change), stages)
