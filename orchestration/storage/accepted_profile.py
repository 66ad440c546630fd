"""The profile that this project is made with: another one makes nearly everything again, so somebody has to say so.

It stands in Dagster's own store, which every process of a project sees, on whatever machine. Values that change within
a profile are a change like one of the code, which is made again without a question.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import dagster as dg

from orchestration.config.catalog import Stage
from orchestration.config.profiles import ProfileError, profile_names, resolve
from orchestration.config.settings import Settings
from orchestration.storage import versions

KEY = "likeness/profile"


def name_of(settings: Settings) -> str:
    """A name that holds wherever the project lies and whoever asks: a file within it is named from its root."""
    if not settings.profile.endswith(".yaml"):
        return settings.profile
    path = Path(settings.profile).expanduser().resolve()
    return str(path.relative_to(settings.root)) if path.is_relative_to(settings.root) else str(path)


def accept(settings: Settings, instance: dg.DagsterInstance) -> None:
    """From now on the project is made with the settings' profile."""
    if _accepted(instance) != (name := name_of(settings)):
        instance.daemon_cursor_storage.set_cursor_values({KEY: name})


def _accepted(instance: dg.DagsterInstance) -> str:
    return instance.daemon_cursor_storage.get_cursor_values({KEY}).get(KEY, "")


def before(settings: Settings, instance: dg.DagsterInstance, stages: Sequence[Stage]) -> str:
    """The profile that the project is made with where it is another one than the settings', else "".

    Another name for the same values is no other profile; and a project that has nothing yet has none.
    """
    accepted = _accepted(instance)
    if accepted == name_of(settings):
        return ""
    made = [stage for stage in stages if instance.get_latest_materialization_event(dg.AssetKey(stage.name))]
    if not made:
        return ""
    known = accepted or _recognised(settings, instance, made)
    return "" if known in ("", name_of(settings)) or not differing(settings, known, stages) else known


def _recognised(settings: Settings, instance: dg.DagsterInstance, made: Sequence[Stage]) -> str:
    """The profile by whose values most of the newest versions were made, for what was made before it was recorded.

    "" where none fits, as after an upgrade whose stages have other settings.
    """
    newest = [(stage, versions.latest(instance, stage.name, _character(settings, stage))) for stage in made]
    recorded = {stage.name: version.metadata.get("config") for stage, version in newest if version}

    def fitting(name: str) -> int:
        configs = _resolved(settings, name, made)
        return sum(configs.get(stage) == config for stage, config in recorded.items() if config is not None)

    # The settings' own comes first: it is the one where several fit as well.
    best = max([name_of(settings), *profile_names()], key=fitting)
    return best if fitting(best) else ""


def _character(settings: Settings, stage: Stage) -> str | None:
    return settings.character if stage.by_character else None


def differing(settings: Settings, known: str, stages: Sequence[Stage]) -> list[str]:
    """The stages that the two profiles configure differently; all, where the other one cannot be read any more."""
    now, then = _resolved(settings, name_of(settings), stages), _resolved(settings, known, stages)
    return [stage.name for stage in stages if not then or now.get(stage.name) != then.get(stage.name)]


def _resolved(settings: Settings, name: str, stages: Sequence[Stage]) -> dict[str, object]:
    """Each stage's values, by its name; none where there is no such profile, or no longer."""
    try:
        configs = resolve(path_of(settings, name), stages)
    except (ProfileError, OSError):
        return {}
    return {stage: config.model_dump(mode="json") for stage, config in configs.items()}


def path_of(settings: Settings, name: str) -> str:
    """What --profile takes: the name, or where the file lies."""
    return str(settings.root / name) if name.endswith(".yaml") else name


def question(settings: Settings, known: str, stages: Sequence[Stage]) -> str:
    """What somebody has to know before the profile changes."""
    again = ", ".join(_followers(differing(settings, known, stages), stages))
    return f"this project is made with the profile {known}; with {name_of(settings)} these are made again: {again}"


def _followers(changed: Iterable[str], stages: Sequence[Stage]) -> list[str]:
    """The stages, and those that read them, in the order of the pipeline."""
    found = set(changed)
    for stage in stages:
        if found & set(stage.code.INPUTS):
            found.add(stage.name)
    return [stage.name for stage in stages if stage.name in found]


def remedy(settings: Settings, known: str, command: str) -> str:
    """Both ways out, as commands."""
    there = known in profile_names() or Path(path_of(settings, known)).is_file()
    as_before = f"`{command} --profile {shlex.quote(path_of(settings, known))}` goes on as before, " if there else ""
    now = shlex.quote(path_of(settings, name_of(settings)))
    return f"{as_before}`{command} --profile {now} --yes` changes it"
