"""How a process that trains or reads with networks keeps its memory."""

import ctypes
import gc


def keep_freed_memory() -> None:
    """Let the C library keep what is freed instead of giving it back to the kernel.

    Each training step, and each photo that is read, frees and takes the same megabytes, and paging them in anew is
    slow: the identity model's forward pass took up to twice as long. Only glibc has this switch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)


def collect_seldom() -> None:
    """Let Python look for garbage in cycles after 10,000 new objects instead of 700.

    Imports make objects by the hundred thousand, all of which stay: of the time in which Dagster, torch, MLflow and
    Great Expectations are imported, the search was a sixth and more.
    """
    gc.set_threshold(10_000, 10, 10)
