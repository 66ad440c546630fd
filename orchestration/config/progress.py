"""What a person sees while stages run: one live line on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text


def describe(what: str, done: int, total: int, values: Mapping[str, float], left: float | None) -> str:
    """ "train 120/400  loss 0.0312  0:42 left"."""
    parts = [f"{what} {done}/{total}" if total else what]
    parts += [f"{name} {value:.4g}" for name, value in values.items()]
    if left is not None:
        parts.append(f"{duration(left)} left")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as "0:42" or "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """Takes a stage's progress calls; the base class writes a line at most every `every` seconds."""

    def __init__(self, write: Callable[[str], Any], every: float = 5.0) -> None:
        self._write, self._every = write, every
        self._stage, self._started, self._written = "", 0.0, 0.0
        self._what, self._what_started, self._first = "", 0.0, 0

    def stage(self, title: str) -> None:
        """A new stage begins."""
        self._stage, self._started, self._what = title, time.monotonic(), ""
        self.show(title)

    def step(self, what: str, done: int, total: int, values: Mapping[str, float] = {}) -> None:
        """So much of some work is done, with the newest values of what it logs."""
        now = time.monotonic()
        if what != self._what:
            # Time left is counted from where this run began: a resumed training does not begin at 0.
            self._what, self._what_started, self._first = what, now, done
        left = None
        if self._first < done < total:
            left = (now - self._what_started) / (done - self._first) * (total - done)
        self.show(f"{self._stage}  {describe(what, done, total, values, left)}".strip())

    def end(self, line: str) -> None:
        """The stage is over."""
        self.show(line, final=True)

    def show(self, line: str, final: bool = False) -> None:
        """Write a line, unless one was written a moment ago and this one is not final."""
        now = time.monotonic()
        if final or now - self._written >= self._every:
            self._written = now
            self._write(line)


class LiveProgress(Progress):
    """One line at the bottom of a terminal that changes in place; finished stages stay above it."""

    def __init__(self, console: Console) -> None:
        super().__init__(console.print)
        self._live = Live(console=console, refresh_per_second=5, transient=True)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, line: str, final: bool = False) -> None:
        self._live.update(
            Text(f"{line}  [{duration(time.monotonic() - self._started)}]", no_wrap=True, overflow="ellipsis")
        )

    def end(self, line: str) -> None:
        self._live.update("")
        self._live.console.print(line, highlight=False)


def into_log(logger: logging.Logger | Any) -> Progress:
    """Progress for `dagster dev` and for workers: lines in the step's log."""
    return Progress(logger.info, every=10.0)
