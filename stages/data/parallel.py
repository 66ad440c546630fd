"""Run independent chunks of work in worker processes, in order, with progress."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import get_context
from typing import Any, TypeVar

import cv2
from threadpoolctl import threadpool_limits

from engine.processes import end_with_parent
from stages.context import Context

Item = TypeVar("Item")
Row = TypeVar("Row")
Result = TypeVar("Result")


class WorkerKilled(RuntimeError):
    """A worker process ended without an answer."""


def map_chunks(
    work: Callable[[Sequence[Item]], list[Row]],
    items: Sequence[Item],
    size: int,
    context: Context,
    what: str,
    total: int | None = None,
) -> Generator[Row, None, None]:
    """The rows of `work(chunk)` over chunks of `size` items, in order: they do not depend on the number of workers, and
    only those of a few chunks are in memory.

    `work` must be a module-level function (or a partial of one) whose result depends on its chunk alone; a range is cut
    into ranges. `total`: rows expected, for progress; as many as items unless given. Raises WorkerKilled, or what a
    chunk raised.
    """
    total = len(items) if total is None else total
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    workers = min(context.workers, len(chunks))
    context.progress(what, 0, total)
    done = 0
    # One thread here too: sums in another order would give other last bits.
    with (
        threadpool_limits(1 if workers <= 1 else None),
        closing(in_order(work, zip(chunks, strict=True), workers, what, _begin)) as found,
    ):
        for part in found:
            yield from part
            done += len(part)
            context.progress(what, min(done, total), total)


def in_order(
    work: Callable[..., Result],
    calls: Iterable[tuple[Any, ...]],
    workers: int,
    what: str,
    begin: Callable[[], None] = end_with_parent,
    hint: str = "",
) -> Generator[Result, None, None]:
    """`work(*call)` of each call in order, in so many processes, or here where one is enough. Only a few calls are in
    flight, so memory stays small. Raises WorkerKilled, or what a call raised.
    """
    if workers <= 1:
        yield from (work(*call) for call in calls)
        return
    # spawn: a forked child would inherit the thread pools of torch and OpenCV in an unusable state
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=begin) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for call in calls:
                waiting.append(pool.submit(work, *call))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise WorkerKilled(
                f"a worker process was killed during {what}; out of memory? Try fewer workers{hint}"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin() -> None:
    end_with_parent()
    # A worker a core is faster than many threads in each worker.
    cv2.setNumThreads(1)
    threadpool_limits(1)
