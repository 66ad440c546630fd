"""What the graph says of each stage: its inputs, and the version of its code and configuration.

To read it from the stages imports torch, pandas and more, seconds in which a run may find that nothing changed. It
follows from the project's code, the profile and the files that it names alone, so it is kept under a digest of these,
contents and not times, and read from the stages wherever that is not known or a stage is imported already. A stage that
is about to run compares what was declared with what it is, so that nothing is ever recorded under another version than
the one that made it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, ValidationError

from engine.errors import LikenessError
from engine.files import digest_of
from orchestration import BEGAN
from orchestration.config.catalog import Stage, inputs_of
from orchestration.config.files import write_whole
from orchestration.config.profiles import changes_of, code_version, configure, file_digests
from orchestration.config.settings import REPOSITORY, Settings

CODE = ("stages", "models", "engine", "orchestration/config")
"""Folders whose files say what a stage is and how it is configured."""
SUFFIXES = (".py", ".json", ".yaml")
GRAIN = 2.0
"""Seconds that a file system's clock may be wrong by."""


class CodeChanged(LikenessError):
    """The code of a stage is not the one any more that the graph was built from."""


@dataclass(frozen=True)
class Declaration:
    """What the graph knows of a stage under a profile."""

    stage: Stage
    inputs: tuple[str, ...]
    code_version: str
    profile: str
    changes: Mapping[str, Any]
    """What the profile changes of the stage's defaults."""

    def config(self) -> BaseModel:
        """The whole configuration, from the stage itself. Raises ProfileError, CodeChanged."""
        config = configure(self.profile, self.stage, self.changes)
        if code_version(self.stage, config) != self.code_version:
            raise CodeChanged(
                f"the code of the stage {self.stage.name}, or a file that its configuration names, was changed "
                "meanwhile: give the command again"
            )
        return config


class _Kept(BaseModel):
    """The file."""

    key: str
    stages: dict[str, tuple[tuple[str, ...], str]]
    """Inputs and version by name."""


def declare(settings: Settings, stages: Sequence[Stage]) -> dict[str, Declaration]:
    """Each stage's declaration under the settings' profile. Raises ProfileError."""
    changes = changes_of(settings.profile, stages)
    of_modules = [stage for stage in stages if stage.module is None]
    known: Mapping[str, tuple[tuple[str, ...], str]] = {}
    if of_modules and not any(f"stages.{stage.name}" in sys.modules for stage in of_modules):
        known = _known(settings, of_modules, changes)

    def declared(stage: Stage) -> Declaration:
        inputs, version = known.get(stage.name) or _said(settings.profile, stage, changes[stage.name])
        return Declaration(stage, inputs, version, settings.profile, changes[stage.name])

    return {stage.name: declared(stage) for stage in stages}


def _said(profile: str, stage: Stage, changes: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """Inputs and version, from the stage itself."""
    config = configure(profile, stage, changes)
    return inputs_of(stage, config), code_version(stage, config)


def _known(
    settings: Settings, stages: Sequence[Stage], changes: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, tuple[tuple[str, ...], str]]:
    """What was kept of the code that is there now, or, from now on, is. Raises ProfileError."""
    file = settings.cache / "stages.json"
    about = {stage.name: changes[stage.name] for stage in stages}
    key = _digest(about)
    if (kept := _read(file)) and kept.key == key:
        return kept.stages
    said = {stage.name: _said(settings.profile, stage, changes[stage.name]) for stage in stages}
    # Code that was changed while this process imported it is not what was imported.
    if _changed_last() < BEGAN - GRAIN and _digest(about) == key:
        with suppress(OSError):  # a folder that may not be written, or a full disk
            write_whole(file, _Kept(key=key, stages=said).model_dump_json())
    return said


def _read(file: Path) -> _Kept | None:
    try:
        return _Kept.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def _digest(changes: Mapping[str, Mapping[str, Any]]) -> str:
    """Of all that declarations follow from."""
    known = [sys.version, pydantic.VERSION, changes, file_digests(changes, str)]
    about = json.dumps(known, sort_keys=True, default=str)
    return digest_of([("", about.encode()), *((name, path.read_bytes()) for name, path in _files())])


def _changed_last() -> float:
    """When a file of the code was changed or put there last, in seconds since 1970."""
    return max(max(status.st_mtime, status.st_ctime) for status in (path.stat() for _, path in _files()))


def _files() -> Iterator[tuple[str, Path]]:
    """Every file of the code by its name in the repository, in order."""
    for folder in CODE:
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                yield path.relative_to(REPOSITORY).as_posix(), path
