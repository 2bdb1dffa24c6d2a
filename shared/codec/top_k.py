"""`top-k`: the largest magnitudes with their places, one value in 32. 0.063 of float32.

Format: k places, uint32 little-endian, strictly ascending; then k values, float32. k = ceil(D / 32), or fewer when
fewer are not zero. What was not sent must be fed back (Stich et al., NeurIPS 2018, https://arxiv.org/abs/1809.07599).
A value that is not sent is no vote for zero: rules that sort coordinates over clients do not work with it. And places
say which weights moved, so it has no masked form; `chain` draws the same places for everyone instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import LocalProtocolError, RemoteProtocolError

Flat = NDArray[np.float32]
Places = NDArray[np.uint32]
Buffer = bytes | bytearray | memoryview

KEEP_ONE_IN = 32

_ENTRY_BYTES = 8
_MAX_SIZE = 1 << 32  # places are 32 bits


def max_bytes(size: int) -> int:
    """Most bytes of D values."""
    return _ENTRY_BYTES * -(-size // KEEP_ONE_IN)


def encode(delta: Flat) -> bytes:
    """The k largest magnitudes of a float32 [D] vector; of equal ones those that come first.

    Raises:
        LocalProtocolError: a value is NaN or infinite, or D above 2^32.
    """
    if len(delta) > _MAX_SIZE or not np.isfinite(delta).all():
        raise LocalProtocolError("an update with NaN or infinite values, or of more than 2^32, cannot be sent")
    k = -(-len(delta) // KEEP_ONE_IN)
    magnitude = np.abs(delta)
    threshold = np.partition(magnitude, len(delta) - k)[len(delta) - k] if k else np.float32(0)
    chosen = magnitude > threshold
    if threshold > 0:
        chosen[np.flatnonzero(magnitude == threshold)[: k - np.count_nonzero(chosen)]] = True
    places = np.flatnonzero(chosen)
    return places.astype("<u4").tobytes() + delta[places].astype("<f4").tobytes()


def check(payload: Buffer, size: int) -> None:
    """Refuse a malformed payload; what it allocates follows from its own bounded length.

    Raises:
        RemoteProtocolError: a length that is no number of entries or above the most, places that do not ascend or lie
            outside, or a value that is NaN or infinite.
    """
    view = memoryview(payload).cast("B")
    if len(view) > max_bytes(size) or len(view) % _ENTRY_BYTES:
        most = max_bytes(size)
        raise RemoteProtocolError(f"{len(view)} bytes, want a multiple of 8 of at most {most}", reason="size")
    places, values = _entries(view)
    if len(places) and places[-1] >= size:
        raise RemoteProtocolError(f"place {places[-1]} of {size} values", reason="schema")
    if not (places[1:] > places[:-1]).all():
        raise RemoteProtocolError("places that do not ascend", reason="schema")
    if not np.isfinite(values).all():
        raise RemoteProtocolError("an update with NaN or infinite values", reason="not-finite")


def decode(payload: Buffer, start: int, stop: int, *, size: int) -> Flat:  # noqa: ARG001 - the length says the size
    """Values start..stop-1 of a checked payload, float32; zero where nothing was sent."""
    places, values = _entries(memoryview(payload).cast("B"))
    first, last = np.searchsorted(places, (start, stop))
    out = np.zeros(stop - start, dtype=np.float32)
    out[places[first:last].astype(np.int64) - start] = values[first:last]
    return out


def _entries(view: memoryview) -> tuple[Places, Flat]:
    count = len(view) // _ENTRY_BYTES
    return np.frombuffer(view, "<u4", count), np.frombuffer(view, "<f4", count, 4 * count)
