"""`fp16`: IEEE half precision, little-endian. 0.50 of float32; 11 bits of mantissa.

Values beyond +-65504 are cut to that, and those below 6e-8 vanish: differences of parameters are far from either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import LocalProtocolError, RemoteProtocolError

Flat = NDArray[np.float32]
Buffer = bytes | bytearray | memoryview

_LARGEST = np.float32(65504)
_TILE = 1 << 16  # values looked at together


def max_bytes(size: int) -> int:
    """Bytes of D values."""
    return 2 * size


def encode(delta: Flat) -> bytes:
    """Round a float32 [D] vector to the nearest halves.

    Raises:
        LocalProtocolError: a value is NaN or infinite.
    """
    if not np.isfinite(delta).all():
        raise LocalProtocolError("an update with NaN or infinite values cannot be sent")
    return np.clip(delta, -_LARGEST, _LARGEST).astype("<f2").tobytes()


def check(payload: Buffer, size: int) -> None:
    """Refuse a malformed payload; allocates no more than 64 Ki values.

    Raises:
        RemoteProtocolError: another length, or a value that is NaN or infinite.
    """
    view = memoryview(payload).cast("B")
    if len(view) != max_bytes(size):
        raise RemoteProtocolError(f"{len(view)} bytes for {size} values, want {max_bytes(size)}", reason="size")
    values = np.frombuffer(view, "<f2")
    if not all(np.isfinite(values[at : at + _TILE]).all() for at in range(0, size, _TILE)):
        raise RemoteProtocolError("an update with NaN or infinite values", reason="not-finite")


def decode(payload: Buffer, start: int, stop: int, *, size: int) -> Flat:  # noqa: ARG001 - the length says the size
    """Values start..stop-1 of a checked payload, float32."""
    return np.frombuffer(payload, "<f2", stop - start, 2 * start).astype(np.float32)
