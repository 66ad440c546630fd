"""The benchmark of trainings, as the script for machines with a GPU runs it: here on the CPU, with toys."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.config.settings import REPOSITORY

pytestmark = pytest.mark.slow


def test_the_script_for_gpus_comes_to_its_end_without_one(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    command = [str(REPOSITORY / "benchmarks" / "gpu.sh"), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "no GPU" in done.stderr and "left out: the renderer" in done.stderr
    document = json.loads((tmp_path / "training.json").read_text())
    assert set(document) == {"machine", "trainings", "encoder", "reading", "refinement"}
    assert document["machine"]["device"] == "cpu"
    for row in document["trainings"].values():
        assert row["precision"] == "bf16-mixed"
        assert row["share"] == pytest.approx(row["steps_per_second"] / row["bare_steps_per_second"])
    assert document["encoder"]["steps_per_second"] > 0
    for name in ("reading", "refinement"):
        assert all(rate > 0 for rate in document[name]["faces_per_second"].values())
