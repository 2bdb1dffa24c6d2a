"""Keep freed pages for the next chunk instead of giving them back to the kernel.

Every chunk of a transfer is a fresh block of 1 MiB. By default glibc maps such a block, faults its 256 pages in, and
unmaps it again a millisecond later: 10 to 14 % of the CPU time of a round at 10M parameters. The thresholds below let
it come from the heap, at the cost of up to TRIM_BYTES of idle memory.
"""

from __future__ import annotations

import ctypes
import sys

MAP_BYTES = 32 << 20
TRIM_BYTES = 32 << 20

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_pages() -> bool:
    """Tune this process's malloc; False where it is not glibc's."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES))
