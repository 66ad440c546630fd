"""`likeness doctor`: what is installed, what runs, what is missing or stale, and what to do about it."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from engine.errors import LikenessError
from orchestration.config.settings import Settings
from orchestration.doctor import machine, models, records, servers, stores
from orchestration.doctor.diagnosis import Diagnosis, Level
from orchestration.registry import trial_load

__all__ = ["Diagnosis", "Level", "examine", "require_machine"]

PATIENCE = 20.0
"""Seconds that any check may take, but for those of LONGER."""

Check = Callable[[Settings], Iterable[Diagnosis]]
CHECKS: Mapping[str, Check] = {
    "machine": machine.check,
    "npm": machine.node,
    "data": machine.inputs,
    "code": machine.code,
    "GPU": machine.gpu,
    "disk": stores.disk,
    "permissions": stores.permissions,
    "locks": stores.locks,
    "DVC remote": stores.remote,
    "dvc command": stores.dvc,
    "registered data": stores.registered,
    "Dagster": servers.dagster,
    "profile": servers.profile,
    "services": servers.webserver,
    "MLflow": servers.mlflow,
    "models": models.check,
    "records": records.check,
    "executor": servers.executor,
}
LONGER = {"models": trial_load.WITHIN + PATIENCE}
"""Seconds that a check may take at least, which has a limit of its own."""


def examine(
    settings: Settings, checks: Mapping[str, Check] = CHECKS, patience: float = PATIENCE, load: bool = True
) -> list[Diagnosis]:
    """Every check, side by side, in their order; one that takes longer than `patience` is a warning: a machine that
    is busy is not broken.

    load: whether what is in production is loaded.
    """
    checks = {name: without_loading if check is models.check and not load else check for name, check in checks.items()}
    found: dict[str, list[Diagnosis]] = {}

    def run(name: str, check: Check) -> None:
        try:
            found[name] = list(check(settings))
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            found[name] = [Diagnosis.error(name, f"{type(error).__name__}: {reason}", "see the message")]

    # Imported here, one after the other: the clock is for what may hang.
    for library in ("mlflow", "dvc.repo"):
        importlib.import_module(library)
    # Daemons: one that hangs in a library must not keep the command from ending.
    threads = {item[0]: threading.Thread(None, run, args=item, daemon=True) for item in checks.items()}
    for thread in threads.values():
        thread.start()
    began = time.monotonic()
    for name, thread in threads.items():
        limit = max(LONGER.get(name, 0.0), patience)
        thread.join(max(began + limit - time.monotonic(), 0))
        if thread.is_alive():
            slow = f"not known: no answer within {limit:.0f} s"
            found[name] = [Diagnosis.warning(name, slow, "see whether its disk, network or server is overloaded")]
    return [diagnosis for name in checks for diagnosis in found[name]]


def without_loading(settings: Settings) -> Iterable[Diagnosis]:
    """What registered models say of themselves, at once."""
    return models.check(settings, load=False)


def require_machine() -> None:
    """Raises LikenessError naming what the system lacks, before any work starts."""
    missing = [diagnosis for diagnosis in machine.necessary() if not diagnosis.is_ok]
    if missing:
        raise LikenessError(
            "; ".join(f"{diagnosis.name} {diagnosis.detail}: {diagnosis.remedy}" for diagnosis in missing)
        )
