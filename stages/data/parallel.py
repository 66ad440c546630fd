"""Run independent chunks of work in worker processes, in order, with progress."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

import cv2
from threadpoolctl import threadpool_limits

from engine.processes import end_with_parent
from stages.context import Context

Item = TypeVar("Item")
Row = TypeVar("Row")


class WorkerKilled(RuntimeError):
    """A worker process ended without an answer."""


def map_chunks(
    work: Callable[[Sequence[Item]], list[Row]],
    items: Sequence[Item],
    size: int,
    context: Context,
    what: str,
    total: int | None = None,
) -> list[Row]:
    """Concatenate `work(chunk)` over chunks of `size` items. The result does not depend on the number of workers.

    `work` must be a module-level function (or a partial of one) whose result depends on its chunk alone; a range is cut
    into ranges. `total`: rows expected, for progress; as many as items unless given. Raises WorkerKilled, or what a
    chunk raised.
    """
    total = len(items) if total is None else total
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    context.progress(what, 0, total)
    results: dict[int, list[Row]] = {}

    def note(number: int, rows: list[Row]) -> None:
        results[number] = rows
        context.progress(what, min(sum(map(len, results.values())), total), total)

    workers = min(context.workers, len(chunks))
    if workers <= 1:
        # One thread here too: sums in another order would give other last bits.
        with threadpool_limits(1):
            for number, chunk in enumerate(chunks):
                note(number, work(chunk))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin) as pool:
            futures = {pool.submit(work, chunk): number for number, chunk in enumerate(chunks)}
            try:
                for future in as_completed(futures):
                    note(futures[future], future.result())
            except BrokenProcessPool as error:
                raise WorkerKilled(
                    f"a worker process was killed during {what}; out of memory? Try fewer workers"
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [row for number in sorted(results) for row in results[number]]


def _begin() -> None:
    end_with_parent()
    # A worker a core is faster than many threads in each worker.
    cv2.setNumThreads(1)
    threadpool_limits(1)
