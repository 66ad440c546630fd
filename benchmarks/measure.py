"""Clocks: one core, medians and spreads, where the time of a render goes, how many processes help."""

import os
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import warp as wp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from engine import sampler
from engine.processes import end_with_parent
from engine.renderer import Renderer
from engine.scenes import Scenes

ROOT = Path(__file__).resolve().parents[1]
CHARACTER, EMBEDDED = ROOT / "characters" / "embedded", ROOT / "data" / "embedded"
SEED = 11
PHASES = {
    "pose": "posing",
    "curve": "posing",
    "add_normals": "posing",
    "cast_shadow": "shadows",
    "light_vertices": "shadows",
    "rasterise": "visibility",
    "rasterise_lenses": "visibility",
    "paint_skin": "shading",
    "resolve": "shading",
}
"""What each kernel of a render belongs to. Posing also holds the morphs, a matrix product outside the kernels."""


@dataclass(frozen=True)
class Timing:
    """Seconds of the repetitions: median, fastest, slowest; `cpu`: median of the processor's own time."""

    median: float
    low: float
    high: float
    cpu: float
    repetitions: int


def cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def one_core(core: int) -> None:
    """From now on: this core, one thread in each library."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    cv2.setNumThreads(1)
    threadpool_limits(1)


def timed(work: Callable[[], Any], seconds: float, least: int = 3) -> Timing:
    """Repeat `work`, after one warm-up, for about some seconds and at least a few times."""
    work()
    taken: list[float] = []
    busy: list[float] = []
    while sum(taken) < seconds or len(taken) < least:
        started, used = time.perf_counter(), time.process_time()
        work()
        taken.append(time.perf_counter() - started)
        busy.append(time.process_time() - used)
    return Timing(statistics.median(taken), min(taken), max(taken), statistics.median(busy), len(taken))


@cache
def renderer_on(device: str) -> Renderer:
    return Renderer(CHARACTER, EMBEDDED, device)


def people(renderer: Renderer, count: int) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Plausible people: sliders [count,S], choices [count,G]."""
    return sampler.plausible(renderer.schema, count, np.random.default_rng(SEED))


class KernelClock:
    """Seconds by phase, and what the rasteriser left behind."""

    def __init__(self, device: str) -> None:
        self.device = device
        # A CPU kernel runs in this thread, and its own time is not lengthened by other programs.
        self.now = time.thread_time if device == "cpu" else time.perf_counter
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.kernels: defaultdict[str, float] = defaultdict(float)
        self.triangles = 0.0
        self.nearest: NDArray[np.uint64] = np.zeros(0, np.uint64)

    @contextmanager
    def watching(self, renderer: Renderer) -> Iterator["KernelClock"]:
        """Every launch, and the morphs, are timed; on CUDA each waits for the one before."""
        launch, blend = wp.launch, renderer.blend

        def timed_launch(kernel: Any, *args: Any, **kwargs: Any) -> Any:
            self._wait()
            started = self.now()
            result = launch(kernel, *args, **kwargs)
            self._wait()
            taken = self.now() - started
            self.kernels[kernel.key] += taken
            self.seconds[PHASES.get(kernel.key, "other")] += taken
            if kernel.key == "rasterise":
                self._look(kernel, kwargs["inputs"])  # after the clock has stopped
            return result

        wp.launch, renderer.blend = timed_launch, _TimedCall(blend, self, "posing")  # type: ignore[assignment]
        try:
            yield self
        finally:
            wp.launch, renderer.blend = launch, blend

    def _wait(self) -> None:
        if self.device != "cpu":
            wp.synchronize_device(self.device)

    def _look(self, kernel: Any, inputs: list[Any]) -> None:
        names = [argument.label for argument in kernel.adj.args]
        self.triangles = float(inputs[names.index("ranges")].numpy()[:, :, 1].sum(axis=1).mean())
        self.nearest = np.array(inputs[names.index("nearest")].numpy())


class _TimedCall:
    """Stands for an object that is called, and adds up how long."""

    def __init__(self, target: Any, clock: KernelClock, phase: str) -> None:
        self._target, self._clock, self._phase = target, clock, phase

    def __call__(self, *args: Any) -> Any:
        started = self._clock.now()
        result = self._target(*args)
        self._clock.seconds[self._phase] += self._clock.now() - started
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def copy_bandwidth(megabytes: int = 256) -> float:
    """Bytes a second that one core reads and writes when it copies a large array."""
    source = np.ones(megabytes << 20, np.uint8)
    target = np.zeros_like(source)
    return 2 * source.nbytes / timed(lambda: np.copyto(target, source), 0.3).low


def renders_of_processes(processes: int, size: int, batch: int, seconds: float, among: list[int]) -> float:
    """Renders a second of so many processes, each on a core of its own, started together."""
    context = get_context("spawn")
    barrier, numbers = context.Barrier(processes), context.Queue()
    for core in among[:processes]:
        numbers.put(core)
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_ready, initargs=(barrier, numbers, batch)
    ) as pool:
        futures = [pool.submit(_rate, size, batch, seconds) for _ in range(processes)]
        return sum(future.result() for future in futures)


_together: list[Barrier] = []


def _ready(barrier: Barrier, numbers: Any, batch: int) -> None:
    end_with_parent()
    one_core(numbers.get())
    _together.append(barrier)
    renderer = renderer_on("cpu")
    renderer.render(*people(renderer, batch), Scenes.game(batch), 128)


def _rate(size: int, batch: int, seconds: float) -> float:
    renderer = renderer_on("cpu")
    sliders, choices = people(renderer, batch)
    renderer.render(sliders, choices, Scenes.game(batch), size)
    _together[0].wait(timeout=600)
    started, drawn = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        renderer.render(sliders, choices, Scenes.game(batch), size)
        drawn += batch
    return drawn / (time.perf_counter() - started)


def machine() -> dict[str, Any]:
    """Processor, cores in use, load before the start, versions."""
    names = [
        line.split(":", 1)[1].strip()
        for path in [Path("/proc/cpuinfo")]
        if path.exists()
        for line in path.read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(cores()),
        "load_before": round(os.getloadavg()[0], 2),
        "cuda": str(wp.get_device("cuda").name) if wp.is_cuda_available() else None,
        "python": platform.python_version(),
        "warp": wp.config.version,
        "numpy": np.__version__,
    }
