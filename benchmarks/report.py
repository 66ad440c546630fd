"""Tables and a plot of what `benchmarks.render` measured."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.output import BUSY

screen = Console()


def show(document: dict[str, Any]) -> None:
    """Print the document as tables."""
    machine = document["machine"]
    screen.print(f"{machine['processor']}, {machine['cores']} cores, load before the start {machine['load_before']}")
    if machine["load_before"] > BUSY:
        own = max(
            (row["renders_a_cpu_second"] or 0.0 for row in document["throughput"] if row["size"] == 256), default=0.0
        )
        screen.print(
            "[yellow]other programs were running: all times are longer than on an idle machine[/]; by the processor's "
            f"own time {own:.0f} renders a second at 256²"
        )
    for table in (_throughput(document), _phases(document), _scaling(document), _renderers(document)):
        screen.print(table)
    made, floor = document["pairs"], document["floor"]
    screen.print(
        f"pairs: {made['pairs_made']} made in {made['seconds_taken']:.1f} s by {made['workers']} workers; "
        f"20,000 would take {made['seconds_for_20000']:.0f} s"
    )
    screen.print(
        f"floor at {floor['size']}²: {floor['pixels_shaded']:.0f} pixels shaded at "
        f"{floor['ns_a_shaded_pixel']:.0f} ns, {floor['triangles_drawn']:.0f} triangles drawn at "
        f"{floor['ns_a_triangle']:.0f} ns; {floor['bytes'] / 1e6:.1f} MB touched, which memory copies in "
        f"{floor['bandwidth_bound_milliseconds']:.1f} ms; the kernels take {floor['times_the_bound']:.0f} times that"
    )
    for target in document["targets"]:
        verdict = {True: "[green]reached[/]", False: "[red]missed[/]", None: "not measured: too few cores"}
        screen.print(f"{target['target']}: {target['value']:.1f} – {verdict[target['reached']]}")


def _throughput(document: dict[str, Any]) -> Table:
    rows = document["throughput"]
    batches = sorted({row["batch"] for row in rows})
    table = Table(title="Renders a second; slowest – fastest repetition")
    for name in ("device", "size", *(f"batch {batch}" for batch in batches)):
        table.add_column(name, justify="right", min_width=6)
    for device, size in dict.fromkeys((row["device"], row["size"]) for row in rows):
        found = {row["batch"]: row for row in rows if (row["device"], row["size"]) == (device, size)}
        cells = [_rate(found[batch]) if batch in found else "" for batch in batches]
        table.add_row(device, f"{size}²", *cells)
    return table


def _rate(row: dict[str, Any]) -> str:
    text = f"{row['renders_per_second']:.1f}\n{row['low']:.0f} – {row['high']:.0f}"
    return text if row["on_device"] is None else f"{text}\n{row['on_device']:.0f} on GPU"


def _phases(document: dict[str, Any]) -> Table:
    rows = document["phases"]
    table = Table(title="Milliseconds a render, and share")
    for name in ("device", "size", *rows[0]["share"]):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cells = [f"{row['milliseconds'][name]:.2f}\n{100 * share:.0f} %" for name, share in row["share"].items()]
        table.add_row(row["device"], f"{row['size']}²", *cells)
    return table


def _scaling(document: dict[str, Any]) -> Table:
    table = Table("processes", "renders a second", "of perfect", title="Processes, one a core, 256²")
    for row in document["scaling"]:
        table.add_row(
            str(row["processes"]), f"{row['renders_per_second']:.1f}", f"{100 * min(row['efficiency'], 1):.0f} %"
        )
    return table


def _renderers(document: dict[str, Any]) -> Table:
    table = Table("renderer", "ms a picture of a new person", "what", title="The same triangles, camera, one core")
    for row in document["renderers"]:
        time = "skipped" if row["milliseconds"] is None else f"{row['milliseconds']:.1f} at {row['size']}²"
        table.add_row(row["name"], time, row["how"] or row["skipped"])
    return table


def plot(document: dict[str, Any], path: Path) -> None:
    """Renders a second over batch size, a line for each device and picture size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    rows = document["throughput"]
    for device, size in dict.fromkeys((row["device"], row["size"]) for row in rows):
        chosen = [row for row in rows if (row["device"], row["size"]) == (device, size)]
        faces = [row["batch"] for row in chosen]
        axes.plot(faces, [row["renders_per_second"] for row in chosen], marker="o", label=f"{device}, {size}²")
        if chosen[0]["on_device"] is not None:
            left = [row["on_device"] for row in chosen]
            axes.plot(faces, left, marker=".", linestyle="--", label=f"{device}, {size}², left there")
    axes.set_xscale("log", base=2)
    batches = sorted({row["batch"] for row in rows})
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.set_xlabel("faces a batch")
    axes.set_ylabel("renders a second")
    axes.set_ylim(bottom=0)
    if any(row["device"] != "cpu" for row in rows):
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
