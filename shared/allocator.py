"""Freed pages: kept for the next chunk of a transfer, given back when transfers are over.

Every chunk of a transfer is a fresh block of 1 MiB. By default glibc maps such a block, faults its 256 pages in, and
unmaps it again a millisecond later: 10 to 14 % of the CPU time of a round at 10M parameters. The thresholds below let
it come from the heap, at the cost of up to TRIM_BYTES of idle memory. What transfers leave behind is not at the end of
the heap but between what stays, where glibc never looks by itself: hence `give_back`.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

MAP_BYTES = 32 << 20
TRIM_BYTES = 32 << 20

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_pages() -> bool:
    """Tune this process's malloc; False where it is not glibc's."""
    mallopt = getattr(_library(), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES))


def give_back() -> bool:
    """Return the pages that nothing is on to the kernel, some milliseconds; False if there were none, or no glibc."""
    trim = getattr(_library(), "malloc_trim", None)
    return trim is not None and bool(trim(0))


@cache
def _library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
