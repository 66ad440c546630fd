"""Definitions that a real daemon loads in tests: the shape of the real graph, stages that take as long as a file says.

`<root>/slow` holds the name of a stage, which then writes `<root>/started` with its process's number and waits until
the file is gone.
"""

import os
import time
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.config.files import write_whole
from orchestration.config.settings import Settings
from orchestration.pipeline.definitions import build
from tests import databases  # noqa: F401
from tests.orchestration.conftest import stage

STAGES = (
    stage("portraits", ("embedded", "character")),
    stage("faces", ("photos", "portraits")),
    stage("pairs", ("embedded", "character"), by_character=True),
    stage("encoder", ("faces", "pairs", "character"), by_character=True),
)
WAITS = 120  # seconds


def _linger(root: Path, name: str) -> None:
    slow, deadline = root / "slow", time.monotonic() + WAITS
    while slow.exists() and slow.read_text() == name and time.monotonic() < deadline:
        write_whole(root / "started", str(os.getpid()))
        time.sleep(0.1)


def _act(root: Path, name: str) -> Any:
    def act(out: Path, context: Any) -> None:
        _linger(root, name)
        bad = root / "data" / "photos" / "someone" / "bad.txt"
        if name == "faces" and bad.exists():
            raise ValueError("a photo is no photo")

    return act


@dg.definitions
def defs() -> dg.Definitions:
    settings = Settings()
    for each in STAGES:
        each.module.act = _act(settings.root, each.name)
    return build(settings, STAGES)
