"""Randomised Hadamard rotation of strided blocks, in place.

Block j takes coordinates j, j + S, j + 2S, ...: column j of the vector seen as H rows x S columns. With contiguous
blocks a small layer of large values would fill its own blocks and leave the common range of the codes; strided ones mix
all layers (layer scales of 10/3/1 and 16 levels: an error of 0.02 instead of 0.28 of the energy).

y = H D x / sqrt(H) with D random signs from a public seed (Suresh et al., ICML 2017, https://arxiv.org/abs/1611.00429),
orthonormal: norms, angles and sketches are those of the parameters.

H rows, S columns. The levels of the butterflies are taken in two halves, each over sets of about sqrt(H) rows: every
sqrt(H)-th row, then neighbours. A set is worked on in place, as long runs of whole rows, and stays in the second-level
cache; runs vectorise and prefetch well, where narrow tiles of all rows wait for memory (2.7 times as long at 10M).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from roughfed.codec.keystream import Keystream
from roughfed.codec.plan import Layout
from roughfed.errors import LocalProtocolError
from roughfed.kernel import kernel

Flat = NDArray[np.float32]
Words = NDArray[np.uint32]

_WORD = 32  # sign bits
_RUN = 2048  # columns at a time: 64 rows of them are half a MiB


def rotate(values: Flat, layout: Layout, seed: bytes, *, scale: float = 1.0) -> None:
    """Rotate in place, and multiply by `scale` on the way.

    Args:
        values: float32 [P], contiguous; coordinates from D on are zero.
        layout: rows and columns.
        seed: the public seed, 32 bytes.
        scale: a factor for all values (the clip).

    Raises:
        LocalProtocolError: another type, shape or seed.
    """
    _check(values, layout)
    _transform(values, _signs(layout, seed), layout.columns, _factor(layout, scale), True)  # signs first


def rotate_back(values: Flat, layout: Layout, seed: bytes) -> None:
    """Undo `rotate` in place; the error is that of float32 sums (about 1e-6 of the norm)."""
    _check(values, layout)
    _transform(values, _signs(layout, seed), layout.columns, _factor(layout, 1.0), False)  # signs last


def _check(values: Flat, layout: Layout) -> None:
    if values.shape != (layout.padded,) or values.dtype != np.float32 or not values.flags.c_contiguous:
        raise LocalProtocolError(f"{values.dtype} {values.shape}, want contiguous float32 ({layout.padded},)")


def _factor(layout: Layout, scale: float) -> np.float32:
    return np.float32(scale / math.sqrt(layout.rows))


def _signs(layout: Layout, seed: bytes) -> Words:
    """One bit a coordinate, uint32 [H, ceil(S / 32)]; bit k of word t of a row is the sign of column 32 t + k."""
    words = np.empty((layout.rows, -(-layout.columns // _WORD)), dtype="<u4")
    Keystream(seed, "signs").fill(words.data)
    return words


@kernel(writes=["values"])
def _transform(values: Flat, signs: Words, columns: int, factor: np.float32, signs_first: bool) -> None:
    """All rows, a run of columns after another; runs begin where a word of signs begins."""
    rows = len(signs)
    inner = 1
    while inner * inner < rows:
        inner *= 2
    pieces = -(-columns // _RUN)
    longest = -(-columns // (pieces * _WORD)) * _WORD
    for start in range(0, columns, longest):
        width = min(longest, columns - start)
        words = signs[:, start // _WORD :]
        for first in range(inner):
            if signs_first:
                _flip_rows(values[start:], words, columns, width, range(first, rows, inner))
            _butterflies(values[first * columns + start :], rows // inner, inner * columns, width)
        for first in range(0, rows, inner):
            _butterflies(values[first * columns + start :], inner, columns, width)
            _scale_rows(values[start:], columns, width, range(first, first + inner), factor)
            if not signs_first:
                _flip_rows(values[start:], words, columns, width, range(first, first + inner))


@kernel(writes=["values"])
def _flip_rows(values: Flat, signs: Words, columns: int, width: int, rows: range) -> None:
    """Change signs in a run of some rows."""
    for row in rows:
        _flip(values[row * columns : row * columns + width], signs[row])


@kernel(writes=["values"])
def _scale_rows(values: Flat, columns: int, width: int, rows: range, factor: np.float32) -> None:
    """Multiply a run of some rows."""
    for row in rows:
        run = values[row * columns : row * columns + width]
        for k in range(width):
            run[k] *= factor


@kernel(writes=["run"])
def _flip(run: Flat, words: Words) -> None:
    """Change the signs where a bit is set."""
    whole = len(run) // _WORD
    for t in range(whole):
        word, part = words[t], run[t * _WORD : (t + 1) * _WORD]
        for k in range(_WORD):
            part[k] = -part[k] if (word >> np.uint32(k)) & np.uint32(1) else part[k]
    for k in range(len(run) - whole * _WORD):
        if (words[whole] >> np.uint32(k)) & np.uint32(1):
            run[whole * _WORD + k] = -run[whole * _WORD + k]


@kernel(writes=["values"])
def _butterflies(values: Flat, rows: int, stride: int, width: int) -> None:
    """Unscaled Hadamard transform over a power of two of runs, `stride` values apart: two levels at a time."""
    half = 1
    while half * 4 <= rows:
        step = half * stride
        for i in range(0, rows, 4 * half):
            for j in range(i, i + half):
                at = j * stride
                x, y = values[at : at + width], values[at + step : at + step + width]
                z, w = values[at + 2 * step : at + 2 * step + width], values[at + 3 * step : at + 3 * step + width]
                for k in range(width):
                    p, q, r, s = x[k] + y[k], x[k] - y[k], z[k] + w[k], z[k] - w[k]
                    x[k], y[k], z[k], w[k] = p + r, q + s, p - r, q - s
        half *= 4
    if half < rows:  # one level is left
        step = half * stride
        for j in range(half):
            at = j * stride
            x, y = values[at : at + width], values[at + step : at + step + width]
            for k in range(width):
                x[k], y[k] = x[k] + y[k], x[k] - y[k]
