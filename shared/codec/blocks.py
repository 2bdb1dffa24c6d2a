"""Bytes with a scale for each block of 128 values: what the downlink and the `int8` codec have in common.

Format: ceil(D / 128) scales, float32 little-endian; then D signed bytes. A value is byte x scale, rounded once to
float32, and scale = largest magnitude / 127, so the error is at most half a scale. 1 + 4/128 bytes a value: 0.258 of
float32. Bytes are -127..127: there is one way only to write a value.

Only single IEEE operations on each value, no sums: every machine gets the same bits. Done in numpy, 64 Ki values at a
time in the cache, so a client that merely downloads needs no compiler.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import LocalProtocolError, RemoteProtocolError

Flat = NDArray[np.float32]
Buffer = bytes | bytearray | memoryview

BLOCK = 128
TILE = 512 * BLOCK  # values

_TOP = np.float32(127)


class Blocks(NamedTuple):
    """Views of a payload: scales float32 [ceil(D / 128)] and levels int8 [D]."""

    scales: Flat
    levels: NDArray[np.int8]


def payload_bytes(size: int) -> int:
    """Bytes of D values."""
    return 4 * -(-size // BLOCK) + size


def tiles(size: int) -> Iterator[slice]:
    """The vector in pieces that start at a block."""
    for start in range(0, size, TILE):
        yield slice(start, min(start + TILE, size))


def empty(size: int) -> tuple[bytearray, Blocks]:
    """A payload to be filled, and its views."""
    payload = bytearray(payload_bytes(size))
    return payload, views(payload, size)


def write(values: Flat, blocks: Blocks, where: slice) -> None:
    """Quantise one piece (see `tiles`) to the nearest level, half to even.

    Args:
        values: float32, the values of the piece.
        blocks: the whole payload.
        where: the piece.

    Raises:
        LocalProtocolError: a value is NaN or infinite.
    """
    count = len(values)
    if count % BLOCK:
        values = np.concatenate([values, np.zeros(-count % BLOCK, dtype=np.float32)])
    rows = values.reshape(-1, BLOCK)
    scales = np.abs(rows).max(axis=1) / _TOP
    if not np.isfinite(scales).all():  # a maximum carries a NaN on
        raise LocalProtocolError("values that are NaN or infinite cannot be quantised")
    zeros = scales < np.finfo(np.float32).tiny  # such a block counts as zeros: a subnormal scale is too coarse
    scales[zeros] = 1
    levels = rows / scales[:, None]  # at most 127 and a rounding
    np.rint(levels, out=levels)
    levels[zeros] = scales[zeros] = 0
    first = where.start // BLOCK
    blocks.scales[first : first + len(scales)] = scales
    blocks.levels[where] = levels.reshape(-1)[:count]  # to bytes on the way


def read(blocks: Blocks, start: int, stop: int) -> Flat:
    """Values start..stop-1 of a payload that `checked` has seen, float32."""
    first, last = start // BLOCK, -(-stop // BLOCK)
    rows = np.zeros((last - first, BLOCK), dtype=np.float32)
    values, here = rows.reshape(-1), blocks.levels[first * BLOCK : last * BLOCK]
    values[: len(here)] = here
    rows *= blocks.scales[first:last, None]
    return values[start - first * BLOCK : stop - first * BLOCK]


def checked(payload: Buffer, size: int) -> Blocks:
    """Views of a received payload; nothing is copied or allocated.

    Args:
        payload: bytes of the peer.
        size: D, from our own Spec, never the peer's word.

    Raises:
        RemoteProtocolError: another length, a scale that is negative, NaN or infinite or that makes infinite values,
            or the byte -128.
    """
    view = memoryview(payload).cast("B")
    if len(view) != payload_bytes(size):
        raise RemoteProtocolError(f"{len(view)} bytes for {size} values, want {payload_bytes(size)}", reason="size")
    blocks = views(payload, size)
    largest = np.finfo(np.float32).max / _TOP
    if not ((blocks.scales >= 0) & (blocks.scales <= largest)).all():  # a NaN fails both
        raise RemoteProtocolError("a block's scale is negative, NaN, infinite or too large", reason="not-finite")
    if any(blocks.levels[where].min() == -128 for where in tiles(size)):
        raise RemoteProtocolError("the byte -128 stands for nothing", reason="schema")
    return blocks


def views(payload: Buffer, size: int) -> Blocks:
    """Views of a payload of the right length."""
    view, count = memoryview(payload).cast("B"), -(-size // BLOCK)
    return Blocks(np.frombuffer(view, "<f4", count), np.frombuffer(view, np.int8, size, 4 * count))
