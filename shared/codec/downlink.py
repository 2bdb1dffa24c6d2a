"""The way down: the server quantises the global update, applies what it sends, and sends that.

    server: payload = quantise(update, error)   -> params += decoded update, error kept for the next version
    client: apply(payload, params)              -> params += decoded update

Both sides add the same float32 numbers in the same way, so every party holds bit-identical parameters, and a client one
version behind downloads 0.258 of them. What the quantiser lost is added to the next update (error feedback: Seide et
al., Interspeech 2014), at the server alone, so no client keeps a state for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from roughfed.codec import blocks
from roughfed.errors import LocalProtocolError

Flat = NDArray[np.float32]


def quantise(update: Flat, error: Flat) -> bytes:
    """Quantise update + error, in place: no further vectors are needed.

    Args:
        update: what the optimizer wants to add to the parameters, float32 [D]; on return what the payload says.
        error: what earlier payloads did not say, float32 [D], zeros at first; on return the new error. To be committed
            together with the version: after a crash both are computed again from the old ones.

    Returns:
        the payload (see `blocks`).

    Raises:
        LocalProtocolError: another type or shape, or a value that is NaN or infinite; the vectors are then spoiled.
    """
    if update.dtype != np.float32 or error.dtype != np.float32 or update.shape != error.shape or update.ndim != 1:
        raise LocalProtocolError(f"update {update.dtype} {update.shape} and error {error.dtype} {error.shape}")
    payload, views = blocks.empty(len(update))
    for where in blocks.tiles(len(update)):
        wanted = update[where] + error[where]
        blocks.write(wanted, views, where)
        update[where] = blocks.read(views, where.start, where.stop)
        np.subtract(wanted, update[where], out=error[where])
    return bytes(payload)


def apply(payload: blocks.Buffer, params: Flat) -> None:
    """Add a payload to the parameters, in place; the server does the same to its own.

    Args:
        payload: from `quantise`.
        params: float32 [D], changed only if the whole payload is well formed.

    Raises:
        RemoteProtocolError: a malformed payload (`blocks.checked`). Whether the result is the model of the header is
            for its digest to say.
    """
    for where, piece in zip(blocks.tiles(len(params)), stepped(payload, params), strict=True):
        params[where] = piece


def stepped(payload: blocks.Buffer, params: Flat) -> Iterator[Flat]:
    """What `apply` makes of the parameters, in consecutive pieces, so that no whole vector need be resident.

    Args:
        payload: from `quantise`.
        params: float32 [D], unchanged.

    Raises:
        RemoteProtocolError: a malformed payload, before the first piece.
    """
    views = blocks.checked(payload, len(params))
    for where in blocks.tiles(len(params)):
        yield params[where] + blocks.read(views, where.start, where.stop)


def payload_bytes(size: int) -> int:
    """Bytes of a payload for D parameters: D + 4 ceil(D / 128)."""
    return blocks.payload_bytes(size)
