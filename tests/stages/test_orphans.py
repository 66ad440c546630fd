"""A step, or a service, that is killed with SIGKILL leaves no process of its own behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.character import CommandRenderer
from engine.custom_engine import run_command
from serving.workers.process import WorkerConfig
from serving.workers.refiner import RefinerConfig
from stages.context import Context
from stages.data import parallel
from stages.training import distributed

pytestmark = pytest.mark.slow

GONE_WITHIN = 60.0
"""Seconds; two cores may be busy."""
SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


def sleep(chunk: object, *_: object) -> list[int]:
    time.sleep(600)
    return []


def run(inputs: object, config: object, out: Path, context: Context) -> dict[str, float]:
    time.sleep(600)
    return {}


def pool(scratch: Path) -> None:
    list(parallel.map_chunks(sleep, [1, 2, 3], 1, Context(workers=2), "work"))


def faces(scratch: Path) -> None:
    list(parallel.in_order(sleep, (([], scratch / str(number)) for number in range(3)), 2, "aligned_faces"))


def devices(scratch: Path) -> None:
    distributed.run("tests.stages.test_orphans", {}, None, scratch, Context(devices=2))


def reader(scratch: Path) -> None:
    """The service's worker, while it loads a model and so does not look at its input."""
    refine = RefinerConfig(engine="none:none", character=scratch, embedded=scratch, seconds=1)
    config = WorkerConfig(folder=scratch, threads=1, device="cpu", max_pixels=1, refine=refine, log=scratch / "log")
    loads_for_ever("serving.workers.process", "load", config.model_dump_json())


def loads_for_ever(module: str, loader: str, *arguments: str) -> None:
    code = f"import {module} as m, sys, time; m.{loader} = lambda *_: time.sleep(600); m.main(*sys.argv[1:])"
    subprocess.run([sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, check=False)


def renderer(scratch: Path) -> None:
    run_command(scratch, CommandRenderer(command=tuple(SLEEPS), timeout=600), [{"a": 1}], 32)


def drawing(scratch: Path) -> None:
    """The drawing process while the character's engine starts: it does not look at its input."""
    loads_for_ever("serving.rendering.worker", "open_renderer", "none", "none", "cpu")


def as_step(work: Callable[[Path], None], scratch: Path) -> None:
    """In a process of a forkserver, as Dagster's steps are: their parent is not the one that started them."""
    server = multiprocessing.get_context("forkserver")
    step = server.Process(target=work, args=(scratch,))
    step.start()
    (scratch / "step").write_text(str(step.pid))
    step.join()


@pytest.fixture
def step_of(tmp_path: Path) -> Iterator[Callable[[str], psutil.Process]]:
    """A step at work on one of the functions of this file; whatever it leaves is ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> psutil.Process:
        code = "import sys, pathlib, tests.stages.test_orphans as t\n"
        code += "if __name__ == '__main__': t.as_step(getattr(t, sys.argv[1]), pathlib.Path(sys.argv[2]))"
        command = [sys.executable, "-c", code, name, str(tmp_path)]
        started.append(subprocess.Popen(command, start_new_session=True))
        return psutil.Process(int(wait_for(lambda: (tmp_path / "step").exists() and (tmp_path / "step").read_text())))

    yield start
    for one in started:
        os.killpg(one.pid, signal.SIGKILL)
        one.wait()


def wait_for(true: Callable[[], Any], seconds: float = 600.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


def at_work(step: psutil.Process, count: int) -> list[psutil.Process]:
    """The step's helpers once all of them have begun: the tracker of multiprocessing ends by itself."""
    return wait_for(lambda: found if len(found := helpers(step)) == count and settled(found) else None)


def helpers(step: psutil.Process) -> list[psutil.Process]:
    return [one for one in step.children(recursive=True) if "resource_tracker" not in " ".join(one.cmdline())]


def settled(processes: list[psutil.Process]) -> bool:
    """Whether they do nothing any more: they have loaded what they need, and sleep."""
    before = [sum(one.cpu_times()[:2]) for one in processes]
    time.sleep(1.0)
    return before == [sum(one.cpu_times()[:2]) for one in processes] and all(used > 0 for used in before)


@pytest.mark.parametrize(
    ("name", "count"),
    [("pool", 2), ("faces", 2), ("devices", 2), ("reader", 1), ("renderer", 1), ("drawing", 1)],
)
def test_what_a_killed_step_had_started_is_gone(
    name: str, count: int, step_of: Callable[[str], psutil.Process]
) -> None:
    step = step_of(name)
    left = at_work(step, count)
    step.kill()
    wait_for(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in left), GONE_WITHIN)
