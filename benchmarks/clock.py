"""Where the time of one `likeness` command goes: the command itself, with clocks around the libraries that it uses.

    python -m benchmarks.clock OUT.json run --profile smoke

A second belongs to the innermost part that was entered, on the main thread alone: what a thread beside it does (metrics
on their way to MLflow) costs the command nothing. What no part claims is Dagster's own, or Python's start.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

BEGAN = time.monotonic()
STAGES, DVC, MLFLOW, GX, PAGES, DAGSTER, START = (
    "stages",
    "DVC",
    "MLflow",
    "Great Expectations",
    "pictures",
    "Dagster",
    "start",
)
PARTS = (STAGES, DAGSTER, DVC, MLFLOW, GX, PAGES, START)


class Clock:
    """Seconds by part; each moment counts for the innermost."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._inside = [START]
        self._since = BEGAN

    def _turn(self) -> None:
        now = time.monotonic()
        self.seconds[self._inside[-1]] += now - self._since
        self._since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._turn()
        self._inside.append(name)
        try:
            yield
        finally:
            self._turn()
            self._inside.pop()

    def around(self, owner: Any, name: str, part: str) -> None:
        """Count every call of owner.name for a part; of a context manager, its beginning and its end."""
        inner: Callable[..., Any] = getattr(owner, name)
        is_context = hasattr(inner, "__wrapped__")  # by contextlib.contextmanager

        @wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(part):
                return inner(*args, **kwargs)

        @contextmanager
        def timed_ends(*args: Any, **kwargs: Any) -> Iterator[Any]:
            within = inner(*args, **kwargs)
            with self.part(part):
                value = within.__enter__()
            try:
                yield value
            except BaseException as error:
                with self.part(part):
                    if within.__exit__(type(error), error, error.__traceback__):
                        return
                raise
            with self.part(part):
                within.__exit__(None, None, None)

        setattr(owner, name, timed_ends if is_context else timed)


def install(clock: Clock) -> None:
    """Put the clocks around what the assets call."""
    from orchestration import checks
    from orchestration.checks import results
    from orchestration.pipeline import materialize, production_encoder, runner
    from orchestration.promotion import scorecards
    from orchestration.registry.aliases import AliasStore
    from orchestration.registry.registered_models import Registry
    from orchestration.storage import dagster_metadata, project, tracking
    from orchestration.storage.store import Store

    clock.around(runner, "run", DAGSTER)
    clock.around(project, "declare", START)  # these import the stages, and torch with them
    clock.around(runner, "load_stages", START)
    clock.around(materialize, "call", STAGES)
    clock.around(production_encoder, "pack", STAGES)
    clock.around(checks, "run_all", GX)
    for name in ("evaluate_again", "newest", "blocking"):
        clock.around(results, name, GX)
    for name in ("of_output", "of_source", "of_model"):
        clock.around(dagster_metadata, name, PAGES)
    for name in ("add", "put", "fetch", "md5", "is_cached", "checkout", "export", "writing"):
        clock.around(Store, name, DVC)
    clock.around(tracking.Tracking, "run", MLFLOW)
    clock.around(tracking.Tracking, "client", MLFLOW)
    for owner, names in (
        (tracking.TrackedRun, ("metrics", "params", "inputs", "tag", "file", "document")),
        (Registry, ("aliases", "versions", "find", "with_md5", "scorecard")),
        (AliasStore, ("state", "set_alias", "promote")),
        (production_encoder, ("log_model",)),
        (scorecards, ("compare",)),
    ):
        for name in names:
            clock.around(owner, name, MLFLOW)


def main() -> None:
    out, *arguments = sys.argv[1:]
    clock = Clock()
    from orchestration.cli.main import app

    install(clock)
    try:
        app(arguments, standalone_mode=False)
    finally:
        clock._turn()
        Path(out).write_text(json.dumps(clock.seconds))


if __name__ == "__main__":
    main()
