"""How fast and how well the engine draws, beside other renderers on the same triangles.

    python -m benchmarks.render [--quick] [--json] [--out DIR]      (make bench-render)

One process on one core, plausible people, the game's camera and light, 2×2 samples a pixel. Writes into DIR
`render.json`, `renders.png` (renders a second) and `renderers.png` (ours, VTK, Mitsuba side by side). The document:

    machine      processor, cores, load before the start (another program on these cores falsifies everything), versions
    pairs        seconds for 20,000 rendered pairs at 256², extrapolated from a smaller run of the stage
    throughput   renders_per_second of `Renderer.render` for each device, size and batch; low and high of the
                 repetitions; renders_a_cpu_second: by the processor's own time, which other programs lengthen less;
                 on_device: the same left on the GPU
    phases       milliseconds a render (on the CPU the processor's own time) and shares: posing, shadows, visibility,
                 shading, encoding, other (copies, Python)
    scaling      renders_per_second of 1, 2, … processes, one a core
    floor        bytes, pixels and triangles of a render; what each costs; what memory bandwidth alone would take
    renderers    milliseconds a picture of each renderer, or why it was skipped
    targets      what the project set itself, and whether it is reached
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import warp as wp

from benchmarks import measure, others, report
from benchmarks.measure import CHARACTER, EMBEDDED, KernelClock, cores, one_core, people, renderer_on, timed
from benchmarks.mesh import material_meshes
from benchmarks.output import AsJson, notes, require_embedded, write
from engine.scenes import Scenes
from models.images import encode_jpeg, encode_png, grid
from stages import rendered_pairs
from stages.context import Context

SAMPLES, PAIRS, LARGE = 2, 20_000, 512
TARGET_RATE, TARGET_PAIRS_SECONDS, TARGET_CORES = 60.0, 360.0, 2
PHASES = ("posing", "shadows", "visibility", "shading", "other", "encoding")


@dataclass(frozen=True)
class RenderPlan:
    """How much is measured."""

    sizes: tuple[int, ...]
    batches: tuple[int, ...]
    seconds: float  # for each size and batch
    size: int  # of the picture in floor, scaling and comparison
    people: int  # whom the comparison draws
    paths: int  # square root of Mitsuba's paths a pixel
    pairs: int
    most_cores: int = 1024
    renderers: tuple[str, ...] = ("vtk", "opencv", "mitsuba")


FULL = RenderPlan(
    sizes=(128, 256, 512), batches=(1, 4, 16, 64, 256), seconds=1.5, size=256, people=16, paths=8, pairs=1280
)
QUICK = RenderPlan(sizes=(128, 256), batches=(1, 16), seconds=0.5, size=256, people=4, paths=4, pairs=256)


def throughput(device: str, plan: RenderPlan) -> list[dict[str, Any]]:
    """Renders a second for each size and batch."""
    renderer, rows = renderer_on(device), []
    for size in plan.sizes:
        for batch in plan.batches:
            sliders, choices = people(renderer, batch)
            scenes = Scenes.game(batch)
            least = 3 if batch * size**2 <= 64 * 256**2 else 1
            taken = timed(lambda: renderer.render(sliders, choices, scenes, size, SAMPLES), plan.seconds, least)  # noqa: B023
            row = {"device": device, "size": size, "batch": batch, "renders_per_second": batch / taken.median}
            row |= {"low": batch / taken.high, "high": batch / taken.low, "repetitions": taken.repetitions}
            row["renders_a_cpu_second"] = batch / max(taken.cpu, 1e-9) if device == "cpu" else None
            rows.append(row | {"on_device": on_device(device, size, batch, plan.seconds)})
            notes.print(f"{device} {size}² batch {batch}: {row['renders_per_second']:.1f} renders/s")
    return rows


def on_device(device: str, size: int, batch: int, seconds: float) -> float | None:
    """Renders a second that stay on the GPU; None on the CPU, where there is nothing to copy."""
    if device == "cpu":
        return None
    renderer = renderer_on(device)
    sliders, choices = people(renderer, batch)
    numbers, scenes = choices.astype(np.int64), Scenes.game(batch)

    def draw() -> None:
        renderer.draw(sliders, numbers, scenes, size, SAMPLES)
        wp.synchronize_device(device)

    return batch / timed(draw, seconds, 3).median


def watched(device: str, size: int, batch: int) -> tuple[KernelClock, float]:
    """The phases of one batch (best of three) and its seconds."""
    renderer = renderer_on(device)
    sliders, choices = people(renderer, batch)
    runs = []
    for _ in range(3):
        with KernelClock(device).watching(renderer) as clock:
            started = clock.now()
            renderer.render(sliders, choices, Scenes.game(batch), size, SAMPLES)
            runs.append((clock.now() - started, clock))
    total, clock = min(runs, key=lambda run: run[0])
    return clock, total


def phases(device: str, size: int, batch: int) -> dict[str, Any]:
    """Milliseconds a render and share of each phase; what no kernel did is other."""
    clock, total = watched(device, size, batch)
    renderer = renderer_on(device)
    drawn = renderer.render(*people(renderer, batch), Scenes.game(batch), size, SAMPLES)
    encoding = timed(lambda: [(encode_jpeg(i), encode_png(k)) for i, k in zip(drawn.image, drawn.labels)], 0.2)  # noqa: B905
    spent = {name: clock.seconds[name] for name in PHASES[:4]}
    coded = encoding.cpu if device == "cpu" else encoding.median
    spent |= {"other": max(total - sum(spent.values()), 0.0), "encoding": coded}
    everything = sum(spent.values())
    return {
        "device": device,
        "size": size,
        "milliseconds": {name: 1000 * value / batch for name, value in spent.items()},
        "share": {name: value / everything for name, value in spent.items()},
        "kernels": {name: 1000 * value / batch for name, value in clock.kernels.items()},
    }


def floor(size: int, batch: int = 8) -> dict[str, Any]:
    """What a render at least touches, and what that costs on one core."""
    from engine.kernels.visibility import EMPTY

    clock, _ = watched("cpu", size, batch)
    faces, side = len(clock.nearest), size * SAMPLES
    hit = clock.nearest != np.uint64(EMPTY)
    pixels = hit.reshape(faces, size, SAMPLES, size, SAMPLES).any(axis=(2, 4)).sum() / faces
    # Each key is cleared, tested, and read when it is shaded; samples that are hit are written. Then picture,
    # labels and background, and four bytes of texture a shaded sample.
    moved = float(8 * (3 * side**2 + hit.sum() / faces) + size**2 * (3 + 1 + 3) + 4 * hit.sum() / faces)
    bandwidth = measure.copy_bandwidth()
    milliseconds = {name: 1000 * clock.kernels[name] / batch for name in ("resolve", "rasterise")}
    bound = 1000 * moved / bandwidth
    spent = sum(clock.kernels.values()) * 1000 / batch
    return {
        "size": size,
        "bytes": moved,
        "pixels_shaded": float(pixels),
        "samples_hit": float(hit.sum() / faces),
        "triangles_drawn": clock.triangles,
        "ns_a_shaded_pixel": 1e6 * milliseconds["resolve"] / float(pixels),
        "ns_a_triangle": 1e6 * milliseconds["rasterise"] / clock.triangles,
        "bandwidth_gigabytes_a_second": bandwidth / 1e9,
        "bandwidth_bound_milliseconds": bound,
        "kernels_milliseconds": spent,
        "times_the_bound": spent / bound,
    }


def scaling(among: list[int], size: int, seconds: float) -> list[dict[str, Any]]:
    """Renders a second of 1, 2, 4, … processes and of as many as there are cores."""
    counts = sorted({2**power for power in range(10) if 2**power <= len(among)} | {len(among)})
    rows: list[dict[str, Any]] = []
    for count in counts:
        rate = measure.renders_of_processes(count, size, 16, seconds, among)
        first = rows[0]["renders_per_second"] if rows else rate
        rows.append({"processes": count, "renders_per_second": rate, "efficiency": rate / first / count})
        notes.print(f"{count} processes: {rate:.1f} renders/s")
    return rows


def pairs(workers: int, count: int) -> dict[str, Any]:
    """Seconds for the stage `rendered_pairs` to make 20,000 pairs at 256², from a run of fewer.

    Start and end are taken as they are, what grows with the pairs is scaled.
    """
    times: list[tuple[int, float]] = []
    context = Context(workers=workers, on_progress=lambda what, done, total, values: note(done))

    def note(done: int) -> None:
        times.append((done, time.perf_counter()))

    config = rendered_pairs.Config(pairs=count, size=256, sampler="plausible")
    with tempfile.TemporaryDirectory() as folder:
        rendered_pairs.run({"embedded": EMBEDDED, "character": CHARACTER}, config, Path(folder), context)
        ended = time.perf_counter()
    began = times[0][1]
    # Once every worker has handed in a chunk, all have started; from then on the rate is even.
    (first_done, first), (last_done, last) = times[min(workers, len(times) - 2)], times[-1]
    rate = (last_done - first_done) / (last - first)
    start = (last - began) - last_done / rate
    whole = max(start, 0.0) + PAIRS / rate + (ended - last) * PAIRS / count
    return {
        "size": 256,
        "workers": workers,
        "pairs_made": count,
        "seconds_taken": ended - began,
        "pairs_per_second": rate,
        "seconds_for_20000": whole,
    }


def compare(core: int, plan: RenderPlan, out: Path | None) -> list[dict[str, Any]]:
    """Time each renderer on people that it has not drawn before, and draw three of them side by side."""
    renderer, count, size = renderer_on("cpu"), plan.people, plan.size
    sliders, choices = people(renderer, count)
    meshes = [material_meshes(renderer, s, c) for s, c in zip(sliders, choices, strict=True)]
    ours = timed(lambda: renderer.render(sliders, choices, Scenes.game(count), size, SAMPLES), plan.seconds)
    how = f"posing, labels and landmarks included; soft shadows, {SAMPLES**2} samples"
    rows = [{"name": "likeness", "how": how, "size": size, "milliseconds": 1000 * ours.median / count, "skipped": ""}]
    for name in plan.renderers:
        slow = name == "mitsuba"
        drawn = others.draw(name, meshes[:1] if slow else meshes, size, plan.paths if slow else SAMPLES, core)
        taken = None if drawn.median is None else 1000 * drawn.median
        rows.append(
            {"name": drawn.name, "how": drawn.how, "size": size, "milliseconds": taken, "skipped": drawn.skipped}
        )
        notes.print(f"{drawn.name}: {drawn.skipped or f'{taken:.1f} ms'}")
    if out is not None:
        shown = list(renderer.render(sliders[:3], choices[:3], Scenes.game(3), LARGE, 4).image)
        for name in plan.renderers:
            if name != "opencv":
                shown += others.draw(name, meshes[:3], LARGE, plan.paths if name == "mitsuba" else 4, core).images
        (out / "renderers.png").write_bytes(encode_png(grid(shown, columns=3)))
    return rows


def targets(document: dict[str, Any]) -> list[dict[str, Any]]:
    """What the project set itself."""
    rates = [r["renders_per_second"] for r in document["throughput"] if r["device"] == "cpu" and r["size"] == 256] or [
        0.0
    ]
    best, made = max(rates), document["pairs"]
    enough = made["workers"] >= TARGET_CORES
    return [
        {
            "target": f"{TARGET_RATE:.0f} renders a second at 256² on one core",
            "value": best,
            "reached": best >= TARGET_RATE,
        },
        {
            "target": f"20,000 pairs at 256² in under {TARGET_PAIRS_SECONDS:.0f} s on {TARGET_CORES} cores",
            "value": made["seconds_for_20000"],
            "reached": made["seconds_for_20000"] < TARGET_PAIRS_SECONDS if enough else None,
        },
    ]


def measured(plan: RenderPlan, out: Path | None) -> dict[str, Any]:
    """Everything, as one document; pictures go to `out`. The process stays on one core afterwards."""
    among, before = cores()[: plan.most_cores], measure.machine()
    devices = ["cpu", "cuda"] if before["cuda"] else ["cpu"]
    document: dict[str, Any] = {"machine": before}
    # Before this process is tied to one core: its workers would inherit that.
    document["pairs"] = pairs(min(len(among), TARGET_CORES), plan.pairs)
    one_core(among[-1])
    document["throughput"] = [row for device in devices for row in throughput(device, plan)]
    document["phases"] = [phases(d, size, 16 if d == "cpu" else 64) for d in devices for size in plan.sizes]
    document["scaling"] = scaling(among, plan.size, 4 * plan.seconds)
    document["floor"] = floor(plan.size)
    document["renderers"] = compare(among[-1], plan, out)
    document["targets"] = targets(document)
    return document


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Two sizes, two batches, short runs.")] = False,
    as_json: AsJson = False,
    out: Annotated[Path, typer.Option("--out", help="Where render.json and the pictures go.")] = Path("out/bench"),
) -> None:
    """Measure the renderer; see the head of this file for what is written."""
    require_embedded()
    out.mkdir(parents=True, exist_ok=True)
    document = measured(QUICK if quick else FULL, out)
    report.plot(document, out / "renders.png")
    write(document, out / "render.json", as_json, lambda: report.show(document), "renders.png", "renderers.png")


if __name__ == "__main__":
    typer.run(main)
