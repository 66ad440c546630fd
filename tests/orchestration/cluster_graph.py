"""The real graph with stages that take no time and say where they ran: what processes of a cluster import."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.config.catalog import STAGES, Stage
from orchestration.config.settings import Settings
from orchestration.pipeline.definitions import build
from tests.orchestration.conftest import Concatenate

MODULE = "tests.orchestration.cluster_graph"
PROFILE = json.dumps({"checks": {"metrics": {each.name: None for each in STAGES if each.group == "models"}}})
"""Its models have no figures to be judged by."""
LASTS = 2.0
"""Seconds: long enough for two steps that may run side by side to do so."""


class Witness(Concatenate):
    """Writes what it was given into `seen/<asset>.json` of the home folder."""

    def run(self, inputs: Mapping[str, Path], config: Any, out: Path, context: Any) -> dict[str, float]:
        began = time.time()
        seen = Settings().home / "seen"
        seen.mkdir(exist_ok=True)
        told = {
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "workers": context.workers,
            "ray_job": os.environ.get("RAY_JOB_ID", ""),
            "process": os.getpid(),
            "began": began,
        }
        if (Settings().home / "stop_at" / self.name).exists():
            self._stop_halfway(context.checkpoints, seen, told)
        time.sleep(LASTS)
        resumed = (context.checkpoints / "half").exists()
        metrics = super().run(inputs, config, out, context)
        done = {**told, "ended": time.time(), "resumed": resumed}
        (seen / f"{self.name}.json").write_text(json.dumps(done))
        return metrics

    def _stop_halfway(self, checkpoints: Path, seen: Path, told: dict[str, Any]) -> None:
        """Leave a checkpoint and wait to be killed, the first time."""
        (Settings().home / "stop_at" / self.name).unlink()
        (checkpoints / "half").touch()
        partial = seen / f".{self.name}"
        partial.write_text(json.dumps(told))
        partial.rename(seen / f"{self.name}.waiting")
        time.sleep(600)


def graph() -> tuple[Stage, ...]:
    """The stages of the catalog, with their places in the graph and their resources."""
    return tuple(replace(each, module=Witness(each.name, each.code.INPUTS), tables=()) for each in STAGES)


@dg.definitions
def defs() -> dg.Definitions:
    return build(Settings(), graph())
