"""Memory of models on the CPU: freed memory stays with the process.

glibc gives freed memory back to the kernel, which then clears every page of it for the next tensor:
in a pass of a small model a sixth of the time.
"""

from __future__ import annotations

import ctypes

__all__ = ["keep_heap"]

_SETTINGS = {-1: 2**30, -3: 2**28}
"""Of `mallopt`, by the numbers in glibc's malloc.h: bytes of free memory at the heap's end from
which on it is given back, and of a tensor that has memory of its own.
"""


def keep_heap() -> None:
    """Keep up to a gigabyte of freed memory for the next tensors; without glibc, do nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, n_bytes in _SETTINGS.items():
            mallopt(name, n_bytes)
