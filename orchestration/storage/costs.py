"""What it costs to make a version: time of processors and GPUs, memory, energy, storage.

It is measured where the step runs, of its process and all processes that this one started, and stands beside a version
in Dagster and MLflow. It is never the same twice, so nothing of it is a part of what is hashed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import psutil

from orchestration.config.catalog import Stage
from orchestration.config.files import write_whole
from orchestration.config.progress import duration
from orchestration.config.settings import Settings

PREFIX = "cost/"
"""Begins the names of a step's own cost among its figures."""
SAMPLED_EVERY, WRITTEN_EVERY = 1.0, 10.0
"""Seconds."""
KEPT = "cost.json"
"""In the folder of checkpoints: what an interrupted step had cost by then."""
GROWN = 1.01
"""By how much the resident memory has to exceed what it was at the last look for another one."""
WATTS_PER_GIGABYTE = 0.3725
GIGABYTE, HOUR = 1e9, 3600.0


@dataclass(frozen=True)
class Cost:
    """What something cost; the sum of two has the larger peak of memory."""

    seconds: float = 0.0
    """By the clock."""
    cpu_seconds: float = 0.0
    """Of one core, in user and system mode, of the process and all that it started."""
    gpu_seconds: float = 0.0
    """For which GPUs were taken, busy or not."""
    peak_memory_bytes: float = 0.0
    """Largest sum over these processes at any sample; pages that several share count once (proportional set size)."""
    energy_wh: float = 0.0
    """Watt hours, estimated by `energy`."""
    stored_bytes: float = 0.0
    """What DVC's cache did not have before."""

    def __add__(self, other: Cost) -> Cost:
        peak = max(self.peak_memory_bytes, other.peak_memory_bytes)
        sums = {one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)}
        return Cost(**{**sums, "peak_memory_bytes": peak})

    @classmethod
    def total(cls, costs: Iterable[Cost]) -> Self:
        """The sum of many."""
        return sum(costs, cls())  # pyright: ignore[reportReturnType]

    @classmethod
    def of(cls, figures: Mapping[str, Any], prefix: str = PREFIX) -> Self | None:
        """What stands among the figures of a version or of a run; None where nobody measured it."""
        found = {one.name: figures.get(f"{prefix}{one.name}") for one in fields(cls)}
        return None if found["seconds"] is None else cls(**{name: float(value or 0) for name, value in found.items()})

    def figures(self, prefix: str = PREFIX) -> dict[str, float]:
        """As they are recorded, by name."""
        return {f"{prefix}{name}": float(value) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        gpu = f", {duration(self.gpu_seconds)} of GPUs" if self.gpu_seconds else ""
        memory, energy_used = self.peak_memory_bytes / GIGABYTE, f"about {self.energy_wh:.3g} Wh"
        stored = f"{self.stored_bytes / 1e6:.1f} MB stored"
        return f"{duration(self.cpu_seconds)} of a core{gpu}, up to {memory:.2f} GB of memory, {energy_used}, {stored}"


def energy(cost: Cost, watts_per_core: float, watts_per_gpu: float) -> float:
    """Watt hours: (cpu_seconds · W_core + gpu_seconds · W_gpu + seconds · peak_memory_GB · 0.3725 W/GB) / 3600.

    The formula, its 0.3725 W per GB of memory and the 12 W a core are those of Green Algorithms (Lannelongue et al.,
    Advanced Science 8, 2100707, 2021, doi:10.1002/advs.202100707), without its factor for what a data centre uses
    besides. A GPU counts at full power for as long as it was taken, by default at a round 200 W: the settings know
    better. An estimate of the right order, to compare runs by and not to be billed by.
    """
    memory = cost.peak_memory_bytes / GIGABYTE * WATTS_PER_GIGABYTE * cost.seconds
    return (cost.cpu_seconds * watts_per_core + cost.gpu_seconds * watts_per_gpu + memory) / HOUR


@dataclass
class CostMeter:
    """Measures what happens in its `with` block, and goes on from what the same work had cost when it was cut short."""

    gpus: int
    watts_per_core: float
    watts_per_gpu: float
    kept: Path | None = None
    """A folder that lives as long as the work may be gone on with."""
    _before: Cost = field(default_factory=Cost)
    _peak: float = 0.0
    _resident: float = 0.0

    @classmethod
    def of(cls, settings: Settings, stage: Stage, kept: Path | None = None) -> Self:
        """For a step of this stage."""
        return cls(gpus_of(settings, stage), settings.watts_per_core, settings.watts_per_gpu, kept)

    def __enter__(self) -> Self:
        self._before = self._read()
        self._began, self._cpu = time.monotonic(), cpu_seconds()
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="cost", daemon=True)
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._sampler.join()
        self._write()

    def cost(self, stored_bytes: float = 0.0) -> Cost:
        """What it has cost until now."""
        self._look()
        seconds = time.monotonic() - self._began
        now = Cost(seconds, cpu_seconds() - self._cpu, seconds * self.gpus, self._peak)
        now = replace(now, energy_wh=energy(now, self.watts_per_core, self.watts_per_gpu), stored_bytes=stored_bytes)
        return self._before + now

    def _sample(self) -> None:
        written = time.monotonic()
        while not self._over.is_set():
            self._look()
            if time.monotonic() - written > WRITTEN_EVERY:
                self._write()
                written = time.monotonic()
            self._over.wait(SAMPLED_EVERY)

    def _look(self) -> None:
        """Measure the memory where there is more of it than before: to tell shared pages apart takes long."""
        resident = memory_bytes(shared=True)
        if resident > self._resident * GROWN:
            self._resident = resident
            self._peak = max(self._peak, memory_bytes())

    def _read(self) -> Cost:
        if self.kept is None or not (file := self.kept / KEPT).is_file():
            return Cost()
        return Cost(**json.loads(file.read_text()))

    def _write(self) -> None:
        if self.kept is not None and self.kept.is_dir():
            write_whole(self.kept / KEPT, json.dumps(asdict(self.cost())))


def gpus_of(settings: Settings, stage: Stage) -> int:
    """How many GPUs a step of this stage takes on this machine."""
    if not stage.uses_gpu or settings.pick_device() != "cuda":
        return 0
    return settings.pick_devices() if stage.trains else 1


def _tree() -> list[psutil.Process]:
    """This process and all that it started, and those that these started."""
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def cpu_seconds() -> float:
    """Of this process and all that it ever started, those that have ended included: whoever ends hands its time to the
    process that waited for it.
    """
    found = 0.0
    for process in _tree():
        try:
            times = process.cpu_times()
        except psutil.Error:  # ended since it was listed: from now on its time is its parent's
            continue
        found += times.user + times.system + times.children_user + times.children_system
    return found


def memory_bytes(shared: bool = False) -> float:
    """Proportional set size of this process and all that it started, resident size where the system does not say;
    `shared`: resident size, in which pages that several share count for each, and which is known at once.
    """
    found = 0.0
    for process in _tree():
        try:
            about = process.memory_info() if shared else process.memory_full_info()
            found += getattr(about, "pss", about.rss)
        except psutil.Error:
            continue
    return found
