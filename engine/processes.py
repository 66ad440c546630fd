"""A helper process ends with the one that started it, whatever ends that one: SIGKILL leaves no time to tell anybody.

A pool's worker that nobody ends waits for work for ever, with all that it has loaded.
"""

import ctypes
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Looked up here: between a fork and the new program as little as possible may happen.
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_MALLOC_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # glibc alone


def release_memory() -> None:
    """Give what was freed back to the system. A process that does one large thing after another would otherwise keep
    what the first ones left in pieces, and take new memory for the next.
    """
    gc.collect()
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()
    if _MALLOC_TRIM:
        _MALLOC_TRIM(0)


@contextmanager
def memory_released_after(seconds: float = 5.0) -> Iterator[None]:
    """Release memory at the end of work that took longer than this; after less it would cost more than it gives."""
    began = time.monotonic()
    yield
    if time.monotonic() - began > seconds:
        release_memory()


def end_with_parent() -> None:
    """End this process as soon as the one that asked multiprocessing for it is gone; the first thing that one does.

    The parent is multiprocessing's, not the kernel's, which for a forkserver's child is the forkserver. Nothing happens
    in a process that multiprocessing did not start.
    """
    if parent := parent_process():
        threading.Thread(target=_end_after, args=(parent,), name="end with parent", daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this process a signal when the thread that started it ends; only Linux can.

    For a process that multiprocessing did not start; as `preexec_fn` it holds for any program.
    """
    if _PRCTL:
        _PRCTL(_PR_SET_PDEATHSIG, signal_number)
