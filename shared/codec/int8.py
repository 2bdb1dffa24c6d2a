"""`int8`: a signed byte a value and a scale a block of 128 (`blocks`). 0.26 of float32.

Rounds to nearest, so the error is biased within a block: pair it with error feedback (residual = delta - decoded).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roughfed.codec import blocks

Flat = NDArray[np.float32]


def max_bytes(size: int) -> int:
    """Bytes of D values."""
    return blocks.payload_bytes(size)


def encode(delta: Flat) -> bytes:
    """Quantise a float32 [D] vector.

    Raises:
        LocalProtocolError: a value is NaN or infinite.
    """
    payload, views = blocks.empty(len(delta))
    for where in blocks.tiles(len(delta)):
        blocks.write(delta[where], views, where)
    return bytes(payload)


def check(payload: blocks.Buffer, size: int) -> None:
    """Refuse a malformed payload.

    Raises:
        RemoteProtocolError: see `blocks.checked`.
    """
    blocks.checked(payload, size)


def decode(payload: blocks.Buffer, start: int, stop: int, *, size: int) -> Flat:
    """Values start..stop-1 of a checked payload, float32."""
    return blocks.read(blocks.views(payload, size), start, stop)
