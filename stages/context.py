"""What a stage may use besides its inputs, and how it says how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


def _no_progress(what: str, done: int, total: int, values: Mapping[str, float]) -> None:
    """Nobody watches."""


def _no_metrics(values: Mapping[str, float], step: int) -> None:
    """Nobody records."""


@dataclass
class Context:
    """Device, processes, a place for checkpoints and who listens. The defaults suit a test or a notebook."""

    device: str = "cpu"
    """'cpu' or 'cuda'."""
    devices: int = 1
    """Devices that one training uses, a process each; stages.training.distributed starts these processes."""
    workers: int = 1
    """Processes that a data stage may use."""
    checkpoints: Path | None = None
    """A folder that survives an interruption of this very run (same configuration and inputs); None: no checkpoints."""
    cache: Path | None = None
    """A folder for what other runs may need again and can always be computed anew; None: nothing is kept."""
    on_progress: Callable[[str, int, int, Mapping[str, float]], None] = _no_progress
    on_metrics: Callable[[Mapping[str, float], int], None] = _no_metrics

    def progress(self, what: str, done: int, total: int, **values: float) -> None:
        """Report that `done` of `total` parts of `what` are finished."""
        self.on_progress(what, done, total, values)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record named values at a step."""
        self.on_metrics(values, step)

    def folder_for(self, what: str) -> Path | None:
        """The folder for one training's checkpoints, made if need be; None without checkpoints."""
        if self.checkpoints is None:
            return None
        folder = self.checkpoints / what
        folder.mkdir(parents=True, exist_ok=True)
        return folder
