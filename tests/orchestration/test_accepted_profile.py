"""Another profile makes nearly everything again, so it is asked for; without an answer nothing changes."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner, Result

from orchestration.cli.main import app
from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.doctor import servers
from orchestration.pipeline import runner
from orchestration.storage import accepted_profile
from orchestration.storage.instance import open_instance

pytestmark = pytest.mark.slow

Call = Callable[..., Result]


def with_profile(settings: Settings, name: str, content: str) -> Settings:
    (settings.root / name).write_text(content)
    return settings.model_copy(update={"profile": str(settings.root / name)})


@pytest.fixture
def made(settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]) -> Settings:
    """A project that was made with the profile `profile.yaml`."""
    runner.run(settings, instance, stages, Progress(lambda line: None), "embedded")
    return settings


@pytest.fixture
def call(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("LIKENESS_ROOT", str(settings.root))
    return lambda *arguments: CliRunner().invoke(app, arguments)


@pytest.fixture
def smoke(settings: Settings, call: Call) -> Call:
    """The command line of a project that has portraits, made with the profile smoke."""
    with open_instance(settings) as instance:
        accepted_profile.accept(settings.model_copy(update={"profile": "smoke"}), instance)
        instance.report_runless_asset_event(dg.AssetMaterialization("portraits"))
    return call


def test_a_project_that_has_nothing_takes_any(
    settings: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]
) -> None:
    accepted_profile.accept(settings, instance)
    assert accepted_profile.before(with_profile(settings, "b.yaml", "faces: {text: b}"), instance, stages) == ""


def test_another_one_is_told_with_what_it_makes_again(
    made: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]
) -> None:
    assert accepted_profile.before(made, instance, stages) == ""
    other = with_profile(made, "b.yaml", "faces: {text: b}")
    assert accepted_profile.before(other, instance, stages) == "profile.yaml"
    question = accepted_profile.question(other, "profile.yaml", stages)
    assert question.endswith("with b.yaml these are made again: faces, encoder")
    accepted_profile.accept(other, instance)
    assert accepted_profile.before(other, instance, stages) == ""
    assert accepted_profile.before(made, instance, stages) == "b.yaml"


def test_other_values_in_the_same_file_and_another_name_for_the_same_values_ask_nothing(
    made: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]
) -> None:
    assert accepted_profile.before(with_profile(made, "b.yaml", "{}"), instance, stages) == ""
    Path(made.profile).write_text("faces: {text: c}\n")
    assert accepted_profile.before(made, instance, stages) == ""


def test_what_was_made_before_it_was_recorded_is_recognised_by_its_values(
    made: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.daemon_cursor_storage.set_cursor_values({accepted_profile.KEY: ""})
    monkeypatch.setattr(accepted_profile, "profile_names", lambda: ["profile.yaml", "c.yaml"])
    other, third = (with_profile(made, f"{name}.yaml", f"portraits: {{text: {name}}}") for name in "bc")
    assert accepted_profile.before(made, instance, stages) == ""
    assert accepted_profile.before(other, instance, stages) == "profile.yaml"
    assert accepted_profile.before(third, instance, stages) == "profile.yaml"


def test_a_profile_whose_file_is_gone_is_asked_for_and_no_remedy_names_it(
    made: Settings, instance: dg.DagsterInstance, stages: tuple[Stage, ...]
) -> None:
    other = with_profile(made, "b.yaml", "{}")
    Path(made.profile).unlink()
    assert accepted_profile.before(other, instance, stages) == "profile.yaml"
    remedy = accepted_profile.remedy(other, "profile.yaml", "likeness run")
    assert remedy == f"`likeness run --profile {other.profile} --yes` changes it"


@pytest.mark.parametrize("command", ["start", "run"])
def test_unattended_commands_refuse_and_name_both_ways_out(
    smoke: Call, command: str, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr("engine.character.Character.load", lambda folder: _Ready())
    result = smoke(command, "--profile", "quickstart")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "this project is made with the profile smoke" in result.stderr
    assert f"`likeness {command} --profile smoke` goes on as before" in result.stderr
    assert f"`likeness {command} --profile quickstart --yes` changes it" in result.stderr
    assert smoke("profile").stdout == "smoke\n"


class _Ready:
    def require_ready(self) -> None: ...


def test_a_change_is_confirmed_by_an_option_and_shown(smoke: Call, settings: Settings) -> None:
    paper = settings.model_copy(update={"profile": "paper"})
    (shown,) = servers.profile(paper)
    assert shown.level == "warning" and "made with the profile smoke" in shown.detail
    assert smoke("profile", "paper").exit_code == 1
    assert smoke("profile", "paper", "--yes").stdout == "paper\n"
    assert smoke("profile").stdout == "paper\n"
    (shown,) = servers.profile(paper)
    assert shown.level == "ok" and shown.detail == "paper"


@pytest.mark.parametrize(("answer", "profile"), [(b"y\n", "paper\n"), (b"n\n", "smoke\n")])
def test_somebody_at_a_terminal_is_asked(smoke: Call, settings: Settings, answer: bytes, profile: str) -> None:
    terminal, side = pty.openpty()
    command = [sys.executable, "-m", "orchestration.cli", "profile", "paper"]
    environment = {**os.environ, "LIKENESS_ROOT": str(settings.root)}
    with subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=environment, cwd=REPOSITORY) as asked:
        os.close(side)
        said = b""
        while b"Go on? [y/N]" not in said:
            said += os.read(terminal, 1000)
        os.write(terminal, answer)
        asked.wait(60)
    os.close(terminal)
    assert smoke("profile").stdout == profile
