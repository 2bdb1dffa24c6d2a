"""`identity`: float32 as it is, little-endian. Loses nothing; 1.00 of float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import LocalProtocolError, RemoteProtocolError

Flat = NDArray[np.float32]
Buffer = bytes | bytearray | memoryview

_TILE = 1 << 16  # values looked at together


def max_bytes(size: int) -> int:
    """Bytes of D values."""
    return 4 * size


def encode(delta: Flat) -> bytes:
    """The bytes of a float32 [D] vector.

    Raises:
        LocalProtocolError: a value is NaN or infinite.
    """
    if not np.isfinite(delta).all():
        raise LocalProtocolError("an update with NaN or infinite values cannot be sent")
    return delta.astype("<f4", copy=False).tobytes()


def check(payload: Buffer, size: int) -> None:
    """Refuse a malformed payload; allocates no more than 64 Ki values.

    Raises:
        RemoteProtocolError: another length, or a value that is NaN or infinite.
    """
    view = memoryview(payload).cast("B")
    if len(view) != max_bytes(size):
        raise RemoteProtocolError(f"{len(view)} bytes for {size} values, want {max_bytes(size)}", reason="size")
    values = np.frombuffer(view, "<f4")
    if not all(np.isfinite(values[at : at + _TILE]).all() for at in range(0, size, _TILE)):
        raise RemoteProtocolError("an update with NaN or infinite values", reason="not-finite")


def decode(payload: Buffer, start: int, stop: int, *, size: int) -> Flat:  # noqa: ARG001 - the length says the size
    """Values start..stop-1 of a checked payload, float32."""
    return np.frombuffer(payload, "<f4", stop - start, 4 * start).astype(np.float32)
