"""Loads the model in production in a process of its own: whatever native code does there, who asked goes on.

The process imports this module and what it needs, and no more.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from orchestration.registry.promotion_events import PRODUCTION, RegistryError
from orchestration.registry.registered_models import Registry

WITHIN = 120.0
"""Seconds for a process that imports torch and reads the weights, on a busy machine."""
WITHOUT = "`likeness doctor --no-load` leaves it out"


def load_apart(registry: Registry, within: float = WITHIN) -> tuple[float, dict[str, str]]:
    """How many seconds it took to load what is in production, and the md5 of each file of its networks, by its path in
    the folder that was registered. Raises RegistryError, whose message ends with what to do.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_load, args=(sender, registry), daemon=True)
    child.start()
    sender.close()
    try:
        if not receiver.poll(within):
            slow = f"what is in production was not loaded within {within:.0f} s"
            raise RegistryError(f"{slow}: see what keeps the machine busy; {WITHOUT}")
        answer = receiver.recv()
    except EOFError as error:
        child.join()
        died = f"the process that loaded what is in production {_ended(child.exitcode)}"
        raise RegistryError(f"{died}: free memory, or see `dmesg`; {WITHOUT}") from error
    finally:
        child.kill()
        child.join()
        receiver.close()
    if isinstance(answer, str):
        raise RegistryError(answer)
    return answer


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
    folder = Path(getattr(model, "folder", ""))  # not every package that was registered before says it
    for path in sorted(folder.rglob("*")) if folder.is_absolute() else ():
        if path.is_file():
            md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            yield f"model/{path.relative_to(folder).as_posix()}", md5
