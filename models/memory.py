"""How a process that trains or reads with networks keeps its memory."""

import ctypes


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
