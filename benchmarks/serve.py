"""What the service does under load, beside what its model alone would take and beside MLflow's own server.

    python -m benchmarks.serve [--quick] [--megapixels N] [--json] [--project DIR] [--out DIR]      (make bench-serve)

Needs a project with a model in production (`likeness run`). Clients, HTTP and models share this machine's cores, over
loopback. Every client keeps its connection, sends a photo of data/photos, waits for the answer and sends the next; the
answers have the aligned face. The same for `mlflow models serve` of the same version, photos in base64. With
--megapixels the photos are enlarged first, to as many as a phone's have. Writes DIR/serve.json. The document:

    machine      processor, cores, load before the start (another program on these cores falsifies everything), versions
    model        name, version and photos, and their megapixels where they were enlarged
    floor        milliseconds of the processor's own time a photo for decoding it, finding the face and reading it, in
                 a process for each core, all at work; photos_per_second: of all cores if nothing else cost anything
    service      for each number of clients photos_per_second, p50, p99 (seconds), answers, errors by status, the
                 cores that server and clients kept busy, of_floor; cpu_photos_per_second: what the cores would do if
                 no other program took part of them
    plain        the same of `mlflow models serve`, until it ends under the load
    targets      what the project set itself, and whether it is reached
"""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import cv2
import psutil
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.load import BOUNDARY, Request, attack, multipart, photos_in, summary
from benchmarks.output import BUSY, AsJson, exit_with_error, notes, screen_of, write
from engine.processes import end_with_parent
from orchestration.config.settings import REPOSITORY, Settings
from serving.releases import NothingReleased, Release, ReleaseBroken, SourceDown

TARGET_RATE, TARGET_P99, TARGET_CLIENTS, TARGET_CORES, MOST_CLIENTS = 25.0, 0.5, 8, 2, 64
STARTS_WITHIN = 300.0


class BenchError(Exception):
    """Nothing can be measured; the message says what to do."""


@dataclass(frozen=True)
class LoadPlan:
    """How much is measured."""

    clients: tuple[int, ...]
    seconds: float  # for each number of clients
    rounds: int  # through all photos, for the floor


FULL = LoadPlan(clients=(1, 2, 4, 8, 16, 32, 64), seconds=10.0, rounds=12)
QUICK = LoadPlan(clients=(1, 8, 64), seconds=4.0, rounds=4)


def released(settings: Settings, folder: Path) -> tuple[Release, Path]:
    """The version in production, fetched into a folder. Raises BenchError."""
    from orchestration.registry.registered_models import Registry
    from orchestration.registry.registry_source import RegistrySource
    from orchestration.storage.tracking import Tracking

    source = RegistrySource(Registry(Tracking.of(settings), settings.character), folder)
    try:
        release = source.current()
        return release, source.fetch(release)
    except (NothingReleased, SourceDown, ReleaseBroken) as error:
        raise BenchError(f"{settings.root}: {error}") from error


def floor(folder: Path, photos: list[bytes], rounds: int, cores: int) -> dict[str, Any]:
    """Milliseconds a photo of each part of the model's work, while all cores do the same."""
    with tempfile.NamedTemporaryFile() as log, _workers(cores, folder, Path(log.name)) as pool:
        futures = [pool.submit(_parts, folder, photos, rounds) for _ in range(cores)]
        found = [future.result() for future in futures]
    parts = {name: sum(each[name] for each in found) / cores for name in found[0]}
    return parts | {"milliseconds": sum(parts.values()), "photos_per_second": 1000 * cores / sum(parts.values())}


@contextmanager
def _workers(cores: int, folder: Path, log: Path) -> Iterator[ProcessPoolExecutor]:
    context = get_context("spawn")
    barrier = context.Barrier(cores)
    with ProcessPoolExecutor(cores, mp_context=context, initializer=_load, initargs=(folder, log, barrier)) as pool:
        yield pool


_loaded: list[Any] = []


def _load(folder: Path, log: Path, barrier: Any) -> None:
    """As the service's workers do it."""
    from serving.dependencies import THREADS
    from serving.workers.process import load

    end_with_parent()
    with log.open("a") as file:
        os.dup2(file.fileno(), 2)
    _loaded[:] = [load(folder, THREADS, "cpu"), barrier]


def _parts(folder: Path, photos: list[bytes], rounds: int) -> dict[str, float]:
    """Milliseconds a photo: decoding, finding the face, the rest of what the model's predictor does."""
    from models.alignment import LOOKED_AT
    from models.images import decode_reduced

    model, barrier = _loaded
    with model.predictor as predictor:
        pictures = [decode_reduced(photo, LOOKED_AT)[0] for photo in photos]
        predictor.predict_pictures(pictures)
        barrier.wait(timeout=600)
        seconds = {"decode": 0.0, "find": 0.0, "whole": 0.0}
        for _ in range(rounds):
            for photo in photos:
                # The processor's own time, of all threads: MediaPipe works in some of its own.
                started = time.process_time()
                picture, _ = decode_reduced(photo, LOOKED_AT)
                decoded = time.process_time()
                predictor.landmarker.find(picture)
                found = time.process_time()
                predictor.predict_pictures([picture])
                ended = time.process_time()
                for name, taken in zip(seconds, (decoded - started, found - decoded, ended - found), strict=True):
                    seconds[name] += 1000 * taken / rounds / len(photos)
    return {"decode": seconds["decode"], "find": seconds["find"], "read": seconds["whole"] - seconds["find"]}


@contextmanager
def running(command: list[str], environment: dict[str, str], ready: str, log: Path) -> Iterator[psutil.Process]:
    """A server until the block ends, once `ready` answers with 200. Raises BenchError."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIKENESS_")}
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=inherited | environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        _wait_for(ready, process, log)
        yield psutil.Process(process.pid)
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(30)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"the server ended before it was ready; it said:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except OSError:
            time.sleep(0.5)
    raise BenchError(f"nothing answered within {STARTS_WITHIN:.0f} s; the server said:\n{log.read_text()[-2000:]}")


def loaded(server: psutil.Process, port: int, request: Request, plan: LoadPlan, name: str) -> list[dict[str, Any]]:
    """A row for each number of clients."""
    from benchmarks.measure import cores as usable

    cores = len(usable())
    # Each photo once, so that no first time is measured.
    attack(port, request, 1, plan.seconds / 4)
    rows = []
    for clients in plan.clients:
        before = _cpu_seconds(server)
        load = attack(port, request, clients, plan.seconds)
        row = {"clients": clients, **summary(load, request.good)}
        whole = max(row["seconds"], 1e-9)
        # A process that ended takes its time with it.
        row["server_cores"] = max(_cpu_seconds(server) - before, 0.0) / whole
        row["client_cores"] = load.cpu_seconds / whole
        spent = (row["server_cores"] + row["client_cores"]) * whole
        row["cpu_photos_per_second"] = cores * row["answers"] / max(spent, 1e-9)
        rows.append(row)
        notes.print(f"{name}, {clients} clients: {row['photos_per_second']:.1f} photos/s, p99 {_seconds(row['p99'])}")
        if not server.is_running() or server.status() == psutil.STATUS_ZOMBIE or not _answers(port):
            notes.print(f"[yellow]{name} ended under this load[/]: more clients are not tried")
            break
    return rows


def _answers(port: int) -> bool:
    """Whether somebody still listens, at least after a moment."""
    for _ in range(20):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    return False


def _cpu_seconds(server: psutil.Process) -> float:
    """Of the server and all its processes so far."""
    total = 0.0
    for process in [server, *server.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def service(settings: Settings, photos: list[bytes], plan: LoadPlan, folder: Path) -> list[dict[str, Any]]:
    """`likeness serve` of the project under load."""
    port = _free_port()
    command = [sys.executable, "-m", "orchestration.cli", "serve", "--port", str(port)]
    environment = {
        "LIKENESS_ROOT": str(settings.root),
        "LIKENESS_HOME": str(settings.home),
        "LIKENESS_CHARACTER": settings.character,
        "LIKENESS_SERVE_STORE": str(folder / "characters"),
    }
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    request = Request("/v1/characters", headers, multipart(photos, aligned=True), 201)
    with running(command, environment, f"http://127.0.0.1:{port}/readyz", folder / "service.log") as server:
        return loaded(server, port, request, plan, "likeness serve")


def plain(model: Path, photos: list[bytes], plan: LoadPlan, folder: Path) -> list[dict[str, Any]]:
    """MLflow's own server of the same version under load."""
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    tables = ({"columns": ["photo"], "data": [[base64.b64encode(photo).decode()]]} for photo in photos)
    bodies = tuple(json.dumps({"dataframe_split": table}).encode() for table in tables)
    request = Request("/invocations", {"Content-Type": "application/json"}, bodies, 200)
    with running(command, environment, f"http://127.0.0.1:{port}/health", folder / "plain.log") as server:
        return loaded(server, port, request, plan, "mlflow models serve")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def targets(document: dict[str, Any]) -> list[dict[str, Any]]:
    """What the project set itself for two cores; None: not measured, or on fewer cores."""
    rows = {row["clients"]: row for row in document["service"]}
    enough = document["machine"]["cores"] >= TARGET_CORES
    some, most = rows.get(TARGET_CLIENTS), rows.get(MOST_CLIENTS)
    found = [
        (
            f"at least {TARGET_RATE:.0f} photos a second at {TARGET_CLIENTS} clients on {TARGET_CORES} cores",
            some and some["photos_per_second"],
            lambda rate: rate >= TARGET_RATE,
        ),
        (
            f"p99 under {TARGET_P99:g} s at {TARGET_CLIENTS} clients",
            some and some["p99"],
            lambda seconds: seconds < TARGET_P99,
        ),
        (f"no error at {MOST_CLIENTS} clients", most and sum(most["errors"].values()), lambda errors: errors == 0),
    ]
    return [
        {"target": text, "value": value, "reached": holds(value) if enough and value is not None else None}
        for text, value, holds in found
    ]


def enlarged(photo: bytes, megapixels: float) -> bytes:
    """A photo as a JPEG of so many pixels."""
    from models.images import decode_photo, encode_jpeg

    picture = decode_photo(photo)
    factor = (megapixels * 1e6 / picture[..., 0].size) ** 0.5
    return encode_jpeg(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC))


def measured(settings: Settings, plan: LoadPlan, megapixels: float | None = None) -> dict[str, Any]:
    """Everything, as one document. Raises BenchError."""
    from benchmarks.measure import machine

    document: dict[str, Any] = {"machine": machine()}
    paths = photos_in(settings.data / "photos") or photos_in(REPOSITORY / "examples" / "photos")
    photos = [path.read_bytes() for path in paths]
    if megapixels:
        photos = [enlarged(photo, megapixels) for photo in photos]
    with tempfile.TemporaryDirectory(prefix="likeness-bench-") as name:
        folder = Path(name)
        release, model = released(settings, folder / "releases")
        document["model"] = {"name": release.model, "version": release.version, "photos": len(photos)}
        document["model"]["megapixels"] = megapixels
        notes.print(f"{release}, {len(photos)} photos; the model alone first")
        document["floor"] = floor(model, photos, plan.rounds, document["machine"]["cores"])
        document["service"] = service(settings, photos, plan, folder)
        document["plain"] = plain(model, photos, plan, folder)
    for row in document["service"] + document["plain"]:
        row["of_floor"] = row["photos_per_second"] / document["floor"]["photos_per_second"]
    return document | {"targets": targets(document)}


def show(document: dict[str, Any], console: Console) -> None:
    """The document as tables."""
    machine, least = document["machine"], document["floor"]
    console.print(f"{machine['processor']}, {machine['cores']} cores, load before the start {machine['load_before']}")
    if machine["load_before"] > BUSY:
        best = max(row["cpu_photos_per_second"] for row in document["service"])
        console.print(
            "[yellow]other programs were running: all times are longer than on an idle machine[/]; by the processors' "
            f"own time {best:.0f} photos a second"
        )
    console.print(
        f"{document['model']['name']} version {document['model']['version']} alone, milliseconds a photo: "
        f"decode {least['decode']:.1f}, find {least['find']:.1f}, read {least['read']:.1f}; "
        f"all cores, and nothing else to do: {least['photos_per_second']:.1f} photos a second"
    )
    for name, title in (("service", "likeness serve"), ("plain", "mlflow models serve")):
        console.print(_table(title, document[name]))
    for target in document["targets"]:
        value = "not measured" if target["value"] is None else f"{target['value']:.3g}"
        verdict = {True: "[green]reached[/]", False: "[red]missed[/]", None: ""}[target["reached"]]
        console.print(f"{target['target']}: {value} {verdict}")


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("clients", "photos/s", "of the floor", "p50", "p99", "errors", "server, cores", "clients, cores"):
        shown.add_column(name, justify="right")
    for row in rows:
        errors = ", ".join(f"{count} × {status}" for status, count in row["errors"].items()) or "0"
        rate, share = f"{row['photos_per_second']:.1f}", f"{row['of_floor']:.0%}"
        used = [f"{row[name]:.2f}" for name in ("server_cores", "client_cores")]
        shown.add_row(str(row["clients"]), rate, share, _seconds(row["p50"]), _seconds(row["p99"]), errors, *used)
    return shown


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{1000 * value:.0f} ms"


def main(
    quick: Annotated[bool, typer.Option("--quick", help="1, 8 and 64 clients, short runs.")] = False,
    megapixels: Annotated[
        float | None, typer.Option("--megapixels", help="Enlarge the photos to so many.", show_default="as they are")
    ] = None,
    project: Annotated[
        Path | None, typer.Option("--project", help="A trained project.", show_default="LIKENESS_ROOT, or this one")
    ] = None,
    as_json: AsJson = False,
    out: Annotated[Path, typer.Option("--out", help="Where serve.json goes.")] = Path("out/bench"),
) -> None:
    """Measure the service; see the head of this file for what is written."""
    settings = Settings(root=project.resolve()) if project else Settings()
    try:
        document = measured(settings, QUICK if quick else FULL, megapixels)
    except BenchError as error:
        exit_with_error(error)
        return
    write(document, out / "serve.json", as_json, lambda: show(document, screen_of(120)))


if __name__ == "__main__":
    typer.run(main)
