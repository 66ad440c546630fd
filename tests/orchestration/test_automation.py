"""What the daemon would make, asked without a daemon, and made as it would make it."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterCodeLocationLoadError, DagsterUserCodeUnreachableError
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._daemon.auto_run_reexecution import auto_run_reexecution
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon

from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.pipeline import automation, notifications, retry_policy, runner, sensors
from orchestration.pipeline.definitions import build
from orchestration.storage import accepted_profile
from orchestration.storage.instance import AlreadyRunning, only_runner, open_instance
from tests.orchestration.conftest import make_project, make_stages
from tests.orchestration.faces import copy_project

pytestmark = pytest.mark.slow

ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("likeness"), "likeness"), "look")
ALL = ["portraits", "faces", "pairs/embedded", "encoder/embedded"]


class Daemon:
    """Ticks of the automation sensor; what a tick asks for is made in this process."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> None:
        self.settings, self.instance, self.stages = settings, instance, stages
        self.cursor: Any = None

    def asks(self, at: datetime | None = None) -> list[str]:
        """Assets that one tick requests, now or at another time."""
        self.definitions = build(self.settings, self.stages, Progress(lambda line: None))
        result = dg.evaluate_automation_conditions(
            self.definitions,
            self.instance,
            cursor=self.cursor,
            asset_selection=dg.AssetSelection.all(),
            evaluation_time=at,
        )
        self.cursor = result.cursor
        names = [stage.name for stage in self.stages]
        requested = []
        for name in names:
            for partition in sorted(result.get_requested_partitions(dg.AssetKey(name)), key=str):
                requested.append(f"{name}/{partition}" if partition else name)
        return requested

    def make(self, *assets: str) -> bool:
        """The runs that the daemon would launch for these; whether all succeeded."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        done = True
        for asset in assets:
            name, _, partition = asset.partition("/")
            result = job.execute_in_process(
                asset_selection=[dg.AssetKey(name)],
                partition_key=partition or None,
                instance=self.instance,
                run_config=runner.QUIET,
                raise_on_error=False,
            )
            done = done and result.success
        return done

    def elsewhere(self, asset: str) -> dg.DagsterRun:
        """A run that another process makes, or seems to."""
        wanted = {dg.AssetKey(asset)}
        job = self.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=wanted)
        started = dg.DagsterRunStatus.STARTED
        return self.instance.create_run_for_job(
            job, asset_selection=frozenset(wanted), status=started, remote_job_origin=ORIGIN
        )

    def reads_failures(self) -> None:
        """What Dagster's own daemon does every five seconds, to see which runs to try again."""
        context: Any = SimpleNamespace(instance=self.instance)
        list(EventLogConsumerDaemon().run_iteration(context))

    def waves(self) -> list[list[str]]:
        """Tick and make until nothing is asked for."""
        found = []
        while asked := self.asks():
            assert len(found) < 10, found
            found.append(asked)
            self.make(*asked)
        return found

    def look(self) -> dict[str, Any]:
        """The look that the sensor or the schedule asks for; what it found."""
        self.definitions = build(self.settings, self.stages, Progress(lambda line: None))
        result = self.definitions.resolve_job_def(sensors.JOB).execute_in_process(
            instance=self.instance, run_config=runner.QUIET
        )
        (event,) = result.get_asset_materialization_events()
        return {name: value.value for name, value in event.materialization.metadata.items()}

    def by_hand(self, character: str = "embedded") -> list[str]:
        return runner.run(self.settings, self.instance, self.stages, Progress(lambda line: None), character).made

    def module(self, name: str) -> Any:
        return next(stage.module for stage in self.stages if stage.name == name)


@pytest.fixture
def daemon(settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> Daemon:
    return Daemon(settings, instance, stages)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, empty_stores: Path) -> Path:
    """A project on which `likeness run` was done once; copy it before changing it."""
    settings = make_project(tmp_path_factory.mktemp("ran"), "embedded", "other")
    shutil.copytree(empty_stores, settings.home)
    with open_instance(settings) as instance:
        assert Daemon(settings, instance, make_stages()).by_hand() == ALL
    return settings.root


@pytest.fixture
def trained(ran: Path, tmp_path: Path) -> Iterator[Daemon]:
    """A copy of it; the daemon had its first tick."""
    root = tmp_path / "project"
    copy_project(ran, root)
    settings = Settings(root=root, device="cpu", profile=str(root / "profile.yaml"))
    with open_instance(settings) as instance:
        daemon = Daemon(settings, instance, make_stages())
        assert daemon.asks() == []
        yield daemon


def new_photo(settings: Settings, name: str = "new.txt") -> None:
    (settings.data / "photos" / name).write_text(f"a photo {name}")


def test_nothing_is_begun_on_a_project_that_nobody_ran(daemon: Daemon) -> None:
    assert daemon.asks() == []
    assert daemon.look()["changed"] == []
    assert daemon.asks() == []


def test_a_look_at_what_did_not_change_makes_nothing(trained: Daemon) -> None:
    assert trained.look() == {"changed": [], "still changing": []}
    assert trained.asks() == []


def test_new_photos_make_what_depends_on_them_once_parents_first(trained: Daemon) -> None:
    new_photo(trained.settings)
    assert trained.asks() == [], "nobody looked yet"
    assert trained.look()["changed"] == ["photos"]
    assert trained.waves() == [["faces"], ["encoder/embedded"]]
    assert trained.look()["changed"] == []
    assert trained.waves() == []


def test_what_was_made_of_the_same_before_is_taken_over_and_trains_nothing(trained: Daemon) -> None:
    new_photo(trained.settings)
    trained.look()
    trained.waves()
    runs = {stage.name: stage.module.runs for stage in trained.stages}
    (trained.settings.data / "photos" / "new.txt").unlink()
    assert trained.look()["changed"] == ["photos"]
    assert trained.waves() == [["faces"], ["encoder/embedded"]]
    assert {stage.name: stage.module.runs for stage in trained.stages} == runs
    assert trained.asks() == []


def test_the_same_bytes_again_retrain_nothing(trained: Daemon) -> None:
    trained.module("portraits").VERSION = "2"
    assert trained.waves() == [["portraits"]]


def test_other_bytes_go_on_to_what_reads_them(trained: Daemon) -> None:
    Path(trained.settings.profile).write_text("portraits: {text: b}\n")
    assert trained.waves() == [["portraits"], ["faces"], ["encoder/embedded"]]


def test_another_profile_makes_nothing_until_somebody_confirms_it(trained: Daemon) -> None:
    other = trained.settings.root / "other.yaml"
    other.write_text("portraits: {text: b}\n")
    trained.settings = trained.settings.model_copy(update={"profile": str(other)})
    assert [trained.asks() for _ in range(2)] == [[], []]
    accepted_profile.accept(trained.settings, trained.instance)
    assert trained.waves() == [["portraits"], ["faces"], ["encoder/embedded"]]


def test_a_changed_character_leaves_the_other_one_alone(trained: Daemon) -> None:
    trained.by_hand("other")
    (trained.settings.characters / "other" / "content.txt").write_text("changed")
    assert trained.look()["changed"] == ["character/other"]
    assert trained.waves() == [["pairs/other"], ["encoder/other"]]


def test_two_characters_share_one_making_of_what_is_not_their_own(trained: Daemon) -> None:
    trained.by_hand("other")
    new_photo(trained.settings)
    trained.look()
    assert trained.waves() == [["faces"], ["encoder/embedded", "encoder/other"]]


def test_a_character_that_was_never_trained_is_not_begun(trained: Daemon) -> None:
    new_photo(trained.settings)
    trained.look()
    assert trained.waves() == [["faces"], ["encoder/embedded"]]


def test_what_two_branches_lead_to_is_made_when_both_are_done(trained: Daemon) -> None:
    Path(trained.settings.profile).write_text("portraits: {text: b}\npairs: {text: b}\n")
    assert trained.asks() == ["portraits", "pairs/embedded"]
    waiting = trained.elsewhere("portraits")
    trained.make("pairs/embedded")
    assert trained.asks() == [], "portraits are being made, and faces come after them"
    trained.instance.delete_run(waiting.run_id)
    trained.make("portraits")
    assert trained.waves() == [["faces"], ["encoder/embedded"]]


def test_photos_that_arrive_while_faces_are_being_made_are_not_forgotten(trained: Daemon) -> None:
    new_photo(trained.settings, "first.txt")
    trained.look()
    assert trained.asks() == ["faces"]

    def another_arrives(out: Path, context: Any) -> None:
        trained.module("faces").act = lambda out, context: None
        new_photo(trained.settings, "second.txt")

    trained.module("faces").act = another_arrives
    trained.make("faces")
    trained.look()
    assert trained.waves()[0] == ["faces"]


def test_what_failed_waits_for_a_change(trained: Daemon) -> None:
    def explode(out: Path, context: Any) -> None:
        raise ValueError("loss is not finite")

    trained.module("faces").act = explode
    new_photo(trained.settings)
    trained.look()
    assert trained.asks() == ["faces"]
    assert not trained.make("faces")
    assert [trained.asks() for _ in range(3)] == [[], [], []]
    trained.module("faces").act = lambda out, context: None
    new_photo(trained.settings, "another.txt")
    trained.look()
    assert trained.waves() == [["faces"], ["encoder/embedded"]]


def test_what_failed_is_tried_again_when_its_code_changes(trained: Daemon) -> None:
    def explode(out: Path, context: Any) -> None:
        raise ValueError("loss is not finite")

    trained.module("pairs").act = explode
    Path(trained.settings.profile).write_text("pairs: {text: b}\n")
    assert trained.asks() == ["pairs/embedded"]
    assert not trained.make("pairs/embedded")
    assert trained.asks() == []
    trained.module("pairs").act = lambda out, context: None
    Path(trained.settings.profile).write_text("pairs: {text: c}\n")
    assert trained.waves() == [["pairs/embedded"], ["encoder/embedded"]]


def test_what_failed_is_tried_again_at_the_weekly_time(trained: Daemon) -> None:
    def explode(out: Path, context: Any) -> None:
        raise ValueError("loss is not finite")

    trained.module("faces").act = explode
    new_photo(trained.settings)
    trained.look()
    # One time for all that is asked before: no minute begins in between.
    now = datetime.now(UTC)
    trained.make(*trained.asks(now))
    assert trained.asks(now) == []
    # Every minute is a weekly time now; the condition's cursor knows when it was asked last.
    trained.settings = trained.settings.model_copy(update={"retrain_cron": "* * * * *"})
    trained.module("faces").act = lambda out, context: None
    assert trained.asks(now) == []
    assert "faces" in trained.asks(now + timedelta(minutes=2))


@pytest.mark.parametrize("records", ["_staleness", "_staleness_now"])
def test_what_is_retried_while_the_conditions_are_asked_is_made_once(
    trained: Daemon, monkeypatch: pytest.MonkeyPatch, records: str
) -> None:
    new_photo(trained.settings)
    trained.look()
    assert trained.asks() == ["faces"]
    trained.instance.report_run_failed(trained.elsewhere("faces"))
    retried: list[dg.DagsterRun] = []
    read = getattr(automation, records)

    def a_retry_begins(context: dg.AutomationContext) -> Any:
        staleness = read(context)
        if not retried and staleness.why(context.key):
            retried.append(trained.elsewhere("faces"))
        return staleness

    monkeypatch.setattr(automation, records, a_retry_begins)
    assert trained.asks() == [], "it is being made again"
    assert len(retried) == 1


def test_a_cancelled_run_is_not_started_again(trained: Daemon) -> None:
    new_photo(trained.settings)
    trained.look()
    assert trained.asks() == ["faces"]
    run = trained.elsewhere("faces")
    assert trained.asks() == [], "the run is on its way"
    trained.instance.report_run_canceled(run)
    assert trained.asks() == []


def died(trained: Daemon) -> dg.DagsterRun:
    """A run of the daemon's, about which nothing has been reported yet."""
    new_photo(trained.settings)
    trained.look()
    assert trained.asks() == ["faces"]
    run = trained.elsewhere("faces")
    trained.reads_failures()
    assert trained.asks() == [], "the run is on its way"
    return run


def given_back(trained: Daemon, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that Dagster's daemon retries once lost retries were given back."""
    retried: list[str] = []
    monkeypatch.setattr(auto_run_reexecution, "retry_run", lambda run, context: retried.append(run.run_id))
    given = retry_policy.requeue_lost_retries(trained.instance)
    trained.reads_failures()
    assert set(given) == set(retried)
    return given


def test_a_retry_that_dagsters_daemon_passed_over_is_given_back_to_it(
    trained: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, storage = died(trained), trained.instance.run_storage
    status_follows = storage.handle_run_event

    def reads_too_early(*event: Any) -> None:
        trained.reads_failures()
        status_follows(*event)

    monkeypatch.setattr(storage, "handle_run_event", reads_too_early)
    trained.instance.report_run_failed(run, "its process is gone")
    assert given_back(trained, monkeypatch) == [run.run_id]
    assert trained.asks() == [], "the retry is on its way"


@pytest.mark.parametrize(
    ("error", "is_given"),
    [
        (DagsterUserCodeUnreachableError("no code server"), True),
        (DagsterCodeLocationLoadError("it could not be loaded", load_error_infos=[]), True),
        (ValueError("the job is gone"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_retry_that_failed_for_want_of_a_code_server_is_given_back(
    trained: Daemon, monkeypatch: pytest.MonkeyPatch, error: Exception, is_given: bool
) -> None:
    run = died(trained)

    def fails(run: dg.DagsterRun, context: Any) -> None:
        raise error

    monkeypatch.setattr(auto_run_reexecution, "retry_run", fails)
    trained.instance.report_run_failed(run, "its process is gone")
    trained.reads_failures()
    failed = trained.instance.get_run_by_id(run.run_id)
    assert failed is not None and failed.tags["dagster/will_retry"] == "false"
    assert notifications.is_tried_again(trained.instance, run.run_id) is is_given
    assert given_back(trained, monkeypatch) == ([run.run_id] if is_given else [])


def test_a_retry_that_dagsters_daemon_has_yet_to_read_of_is_left_to_it(trained: Daemon) -> None:
    run = died(trained)
    trained.instance.report_run_failed(run, "its process is gone")
    assert retry_policy.requeue_lost_retries(trained.instance) == []
    assert trained.asks() == []


def test_what_was_retried_and_what_a_person_cancelled_is_not_given_back(trained: Daemon) -> None:
    run = died(trained)
    trained.instance.report_run_failed(run, "its process is gone")
    trained.instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": "another"})
    trained.instance.report_run_canceled(trained.elsewhere("faces"))
    trained.reads_failures()
    assert retry_policy.requeue_lost_retries(trained.instance) == []


def test_nothing_is_asked_for_while_likeness_run_is_at_work(trained: Daemon) -> None:
    new_photo(trained.settings)
    trained.look()
    with only_runner(trained.settings, trained.instance):
        assert trained.asks() == []
    assert trained.asks() == ["faces"]


def test_likeness_run_refuses_while_the_daemon_makes_something(trained: Daemon) -> None:
    trained.elsewhere("faces")
    with pytest.raises(AlreadyRunning, match="Dagster makes faces"):
        trained.by_hand()
