"""One process for each device: each runs a training stage, the loop averages their gradients, the first one's results
count.

The launchers of Lightning and torch run a function as well, but bring back neither what it reports on its way nor the
exception itself; here each process has a pipe to the one that started it.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from engine.processes import end_with_parent
from stages.context import Context

PATIENCE = timedelta(hours=2)
"""How long the processes wait for each other; the first one may evaluate for long. A dead one is noticed at once."""
LAST_WORDS = 2.0
"""Seconds for the other processes to say what happened, once one has failed."""


class DeviceProcessKilled(RuntimeError):
    """A device's process ended without an answer."""


@dataclass(frozen=True)
class _DeviceJob:
    """What every process gets; it must travel to another process, so no callbacks."""

    stage: str
    inputs: Mapping[str, Path]
    config: Any
    out: Path
    device: str
    devices: int
    workers: int
    checkpoints: Path | None
    cache: Path | None
    scratch: Path


def run(stage: str, inputs: Mapping[str, Path], config: Any, out: Path, context: Context) -> dict[str, float]:
    """Call `run(inputs, config, out, context)` of the module `stage` in `context.devices` processes, started afresh.

    Gives the first process's metrics; its progress and its logged values reach `context`, and it alone writes into
    `out` and the checkpoints. What the others write into `out` is thrown away. No process outlives this call, whatever
    ends it. Raises what the first failing process raised, or DeviceProcessKilled.
    """
    with tempfile.TemporaryDirectory(prefix="likeness-devices-") as scratch:
        workers = max(1, context.workers // context.devices)
        device, devices, checkpoints = context.device, context.devices, context.checkpoints
        job = _DeviceJob(
            stage, inputs, config, out, device, devices, workers, checkpoints, context.cache, Path(scratch)
        )
        crew = _DeviceProcesses(context)
        try:
            crew.start(job)
            return crew.listen()
        finally:
            crew.stop()


class _DeviceProcesses:
    """The processes and what they said."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.processes: list[SpawnProcess] = []
        self.ranks: dict[Connection, int] = {}
        self.metrics: dict[str, float] | None = None
        self.failures: dict[int, tuple[float, Exception]] = {}
        self.killed: list[str] = []

    def start(self, job: _DeviceJob) -> None:
        # torch warns once in each process when all parameters were used, which here is the usual case
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        spawn = get_context("spawn")  # a forked process cannot use CUDA
        for rank in range(job.devices):
            ours, theirs = spawn.Pipe(duplex=False)
            process = spawn.Process(target=_work, args=(job, rank, theirs), name=f"{job.stage} {rank}")
            process.start()
            self.processes.append(process)
            theirs.close()  # so that the pipe ends with the process
            self.ranks[ours] = rank

    def listen(self) -> dict[str, float]:
        """Pass on what the processes report until all have ended. Raises the cause when one failed."""
        deadline: float | None = None
        while self.ranks and (deadline is None or time.monotonic() < deadline):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            for channel in wait(list(self.ranks), left):
                assert isinstance(channel, Connection)
                self._read(channel)
            if deadline is None and (self.failures or self.killed):
                deadline = time.monotonic() + LAST_WORDS
        # A killed process makes the others fail, and one that failed the ones that waited for it.
        if self.killed:
            raise DeviceProcessKilled("; ".join(self.killed))
        if self.failures:
            raise min(self.failures.values(), key=lambda failure: failure[0])[1]
        assert self.metrics is not None
        return self.metrics

    def _read(self, channel: Connection) -> None:
        rank = self.ranks[channel]
        try:
            kind, content = channel.recv()
        except (EOFError, OSError):
            del self.ranks[channel]
            self._note_end(rank)
            return
        if kind == "progress":
            what, done, total, values = content
            self.context.progress(what, done, total, **values)
        elif kind == "metrics":
            self.context.log(*content)
        elif kind == "failed":
            self.failures[rank] = content
        elif kind == "done":
            self.metrics = content

    def _note_end(self, rank: int) -> None:
        process = self.processes[rank]
        process.join(LAST_WORDS)
        answered = rank in self.failures or (process.exitcode == 0 and (rank > 0 or self.metrics is not None))
        if not answered:
            code = process.exitcode or 0
            how = f"was killed by {signal.Signals(-code).name}; out of memory?" if code < 0 else f"ended with {code}"
            self.killed.append(f"the process of device {rank} {how}")

    def stop(self) -> None:
        """End every process that still runs."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(LAST_WORDS)
            if process.is_alive():  # deep in a library that holds back signals
                process.kill()
                process.join()
        for channel in self.ranks:
            channel.close()


def _work(job: _DeviceJob, rank: int, channel: Connection) -> None:
    """The life of one process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes: the one that started this decides
    end_with_parent()  # its peers would wait for it, or it for them
    try:
        metrics = _run_stage(job, rank, channel)
    except BaseException as error:
        channel.send(("failed", (time.monotonic(), _portable(error, rank))))
        raise SystemExit(1) from None
    if rank == 0:
        channel.send(("done", metrics))


def _run_stage(job: _DeviceJob, rank: int, channel: Connection) -> dict[str, float]:
    import torch

    if job.device.startswith("cuda"):
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // job.devices))
    os.environ["LOCAL_RANK"] = str(rank)  # from this Lightning knows that it need not start processes
    torch.distributed.init_process_group(
        "nccl" if job.device.startswith("cuda") else "gloo",
        init_method=(job.scratch / "rendezvous").as_uri(),  # a file: no port that somebody else may take
        rank=rank,
        world_size=job.devices,
        timeout=PATIENCE,
    )
    out = job.out if rank == 0 else job.scratch / f"out_{rank}"
    out.mkdir(exist_ok=True)
    context = Context(job.device, job.devices, job.workers, job.checkpoints, job.cache)
    if rank == 0:
        context.on_progress = lambda *report: channel.send(("progress", report))
        context.on_metrics = lambda *values: channel.send(("metrics", values))
    metrics = importlib.import_module(job.stage).run(job.inputs, job.config, out, context)
    torch.distributed.destroy_process_group()
    return metrics


def _portable(error: BaseException, rank: int) -> Exception:
    """The error itself where it can travel, else its text; with the traceback of its own process."""
    try:
        # as the pipe will do it; these are this process's own bytes, no file's
        travelled = pickle.loads(pickle.dumps(error))
        assert isinstance(travelled, Exception)
    except Exception:
        travelled = RuntimeError(f"{type(error).__name__}: {error}")
    travelled.add_note(f"in the process of device {rank}:\n{traceback.format_exc()}")
    return travelled
