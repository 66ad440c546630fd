"""Loads the model in production in a process of its own: whatever native code does there, the doctor goes on."""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from orchestration.config.settings import Settings
from orchestration.doctor.diagnosis import Diagnosis
from orchestration.registry.promotion_events import PRODUCTION, RegistryError
from orchestration.registry.registered_models import Registry
from orchestration.registry.remedies import broken
from orchestration.storage.store import RemoteDown, Store, StoreError

WITHIN = 120.0
"""Seconds for a process that imports torch and reads the weights, on a busy machine."""
WITHOUT = "`likeness doctor --no-load` leaves it out"


def diagnosis(settings: Settings, registry: Registry, number: str, within: float = WITHIN) -> Diagnosis:
    """Whether the version in production can be loaded, and is what was registered."""
    name, answer = registry.name, _asked(registry, within)
    if isinstance(answer, str):
        detail, _, remedy = answer.rpartition(": ")
        return Diagnosis.error(name, detail, remedy)
    seconds, files = answer
    if others := _others(settings, registry, number, files):
        detail = f"version {number}: {others[0]} is not what was registered" + (
            f", nor are {len(others) - 1} others" if others[1:] else ""
        )
        return Diagnosis.error(name, detail, broken(registry, number))
    return Diagnosis.ok(name, f"version {number} is in production, loaded in {seconds:.1f} s")


def _asked(registry: Registry, within: float) -> tuple[float, dict[str, str]] | str:
    """Seconds, and the md5 of each file of the model; or what is wrong, and after the last colon what to do."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_load, args=(sender, registry), daemon=True)
    child.start()
    sender.close()
    try:
        if not receiver.poll(within):
            return f"what is in production was not loaded within {within:.0f} s: see what keeps the machine; {WITHOUT}"
        return receiver.recv()
    except EOFError:
        child.join()
        return f"the process that loaded what is in production {_ended(child.exitcode)}: {WITHOUT}"
    finally:
        child.kill()
        child.join()
        receiver.close()


def _ended(status: int | None) -> str:
    if status == -signal.SIGKILL:
        return "was killed, as the system does where memory is full"
    return f"died by {signal.Signals(-status).name}" if status and status < 0 else f"ended with status {status}"


def _load(sender: Connection, registry: Registry) -> None:
    """In the other process."""
    began = time.monotonic()
    try:
        model, _ = registry.load(PRODUCTION)
    except RegistryError as error:
        sender.send(str(error))
        return
    sender.send((time.monotonic() - began, dict(_files(model))))


def _files(model: Any) -> Iterator[tuple[str, str]]:
    """md5 of each file of a loaded model's networks, by its path in the folder that was registered."""
    folder = Path(getattr(model, "folder", ""))  # not every package that was registered before says it
    for path in sorted(folder.rglob("*")) if folder.is_absolute() else ():
        if path.is_file():
            md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            yield f"model/{path.relative_to(folder).as_posix()}", md5


def _others(settings: Settings, registry: Registry, number: str, files: dict[str, str]) -> list[str]:
    """Files whose bytes are not those of the folder that was registered; none where nobody can tell."""
    md5 = registry.find(number).tags.get("md5")
    try:
        registered = Store.of(settings).listing(md5) if md5 and (settings.root / ".dvc").is_dir() else {}
    except (StoreError, RemoteDown):
        return []  # the check of registered data says so
    return [path for path, its_md5 in files.items() if registered.get(path, its_md5) != its_md5]
