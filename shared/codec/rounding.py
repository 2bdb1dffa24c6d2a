"""Stochastic rounding to codes, and sums of codes back to numbers.

A value x becomes floor(x / step + dither) + zero, dither uniform in (0, 1): unbiased inside the range, saturated at its
ends. The dither is a key stream of the client's own secret: whoever could guess it would learn more of x than its code.

H rows, S columns, M = len(rows) S codes, P = H S values, row-major.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from roughfed.codec.keystream import CHUNK_BYTES, Keystream
from roughfed.codec.plan import ChainParams
from roughfed.errors import LocalProtocolError, RemoteProtocolError
from roughfed.kernel import kernel

Flat = NDArray[np.float32]
Codes = NDArray[np.unsignedinteger[Any]]
Rows = NDArray[np.int64]


def round_rows(values: Flat, rows: Rows, params: ChainParams, *, secret: bytes) -> Codes:
    """Round some rows to codes, and leave in `values` what the codes do not say.

    Args:
        values: rotated, float32 [P], finite; on return x - decoded on the given rows, x elsewhere.
        rows: which rows are sent, int64, ascending.
        params: lanes, step and layout.
        secret: 32 bytes, known to this client only and used for this one call: two encodings with one dither would
            tell their difference.

    Returns:
        codes, lane type [M].

    Raises:
        LocalProtocolError: a secret of another length.
    """
    lanes, columns = params.lanes, params.layout.columns
    codes = np.empty(params.sent, dtype=lanes.dtype)
    # one byte of dither for a byte of code; 2^-8 of a step would show in finer codes
    dither_type = np.dtype("<u1") if lanes.bits == 8 else np.dtype("<u2")
    stream = Keystream(secret, "dither")
    batch = max(1, CHUNK_BYTES // (columns * dither_type.itemsize))  # rows
    buffer = np.empty(min(batch, len(rows)) * columns, dtype=dither_type)
    step = np.float32(params.step)
    unit = 1 / (1 << 8 * dither_type.itemsize)
    numbers = np.array([step, 1 / step, unit, lanes.zero, lanes.levels - 1], dtype=np.float32)
    for first in range(0, len(rows), batch):
        part = rows[first : first + batch]
        dither = buffer[: len(part) * columns]
        stream.fill(dither.data)
        out = codes[first * columns : first * columns + len(dither)]
        _round(values, part, out, dither, numbers)
    buffer.fill(0)
    return codes


def spread_sums(sums: Codes, rows: Rows, params: ChainParams, *, num_clients: int, weight: float | None = None) -> Flat:
    """Means of n clients' values from the sums of their codes, zero on the rows that were not sent.

    Args:
        sums: exact sums, any unsigned type, [M]; a sum above n (L - 1), which no n honest clients make, counts as that.
        rows: the rows of the codes.
        params: lanes, step and layout.
        num_clients: n >= 1.
        weight: what the sum is divided by; None: n.

    Returns:
        rotated mean, float32 [P].

    Raises:
        LocalProtocolError: no clients, no weight, or signed or floating sums.
        RemoteProtocolError: another number of sums.
    """
    divisor = num_clients if weight is None else weight
    if num_clients < 1 or not 0 < divisor <= num_clients or sums.dtype.kind != "u":
        raise LocalProtocolError(f"{sums.dtype} sums of {num_clients} clients with a weight of {divisor}")
    if sums.shape != (params.sent,):
        raise RemoteProtocolError(f"sums of shape {sums.shape}, want ({params.sent},)", reason="codec")
    lanes = params.lanes
    out = np.zeros(params.layout.padded, dtype=np.float32)
    factor = np.float32(params.step / divisor)
    top = num_clients * (lanes.levels - 1)
    _spread(sums, rows, out, factor, np.array([num_clients * lanes.zero, top], np.int64))
    return out


@kernel(writes=["values", "codes"])
def _round(values: Flat, rows: Rows, codes: Codes, dither: Codes, numbers: Flat) -> None:
    """Some rows; numbers are step, 1 / step, 1 / how many dithers there are, code of zero, largest code."""
    columns = len(codes) // len(rows)
    step, inverse, unit, centre, last = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    for r in range(len(rows)):
        x = values[rows[r] * columns : (rows[r] + 1) * columns]
        code = codes[r * columns : (r + 1) * columns]
        noise = dither[r * columns : (r + 1) * columns]
        for k in range(columns):
            place = min(max(x[k] * inverse, -centre), last - centre)
            level = np.floor(place)
            chance = (np.float32(noise[k]) + np.float32(0.5)) * unit
            if place - level + chance >= np.float32(1):  # not floor(place + chance): a float32 has too few digits
                level += np.float32(1)
            code[k] = np.int32(level + centre)
            x[k] -= level * step


@kernel(writes=["out"])
def _spread(sums: Codes, rows: Rows, out: Flat, factor: np.float32, bounds: Rows) -> None:
    """All rows; bounds are n times the code of zero and n times the largest code."""
    columns = len(sums) // len(rows)
    for r in range(len(rows)):
        row = sums[r * columns : (r + 1) * columns]
        target = out[rows[r] * columns : (rows[r] + 1) * columns]
        for k in range(columns):
            target[k] = np.float32(min(np.int64(row[k]), bounds[1]) - bounds[0]) * factor
