"""Kernels over tiles of coordinates: the values of each coordinate in order, what is taken of them, and sums of rows.

n rows, width coordinates, f attackers. A coordinate's result depends on its own n values alone, never on the width of
the tile it came in nor on its place there, bit for bit; what is taken of ordered values, not on the order of the rows.

A rule over coordinates is as fast as its sort. Sorting the columns of a tile [n, width] takes seven times as long as
turning it over and sorting rows that lie in one piece each (measured: 10 s and 1.4 s for 100 rows of 10M coordinates).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roughfed.params import Flat
from roughfed.server.defence.verdict import Tile
from roughfed.server.storage.slices import Fill

WIDTH = 8176
"""Coordinates of a tile: 3.3 MB of 100 rows. No power of two: rows that are 2^k bytes apart share a few lines of a
core's cache, and turning such a tile over takes six times as long."""

SUM_WIDTH = 1 << 15
"""Coordinates that are summed at a time: a sum, a product and a row of them stay in a core's cache."""


def ordered(tile: Tile) -> Tile:
    """The values of each coordinate side by side, in ascending order.

    Args:
        tile: finite float32 [n, width]; not changed.

    Returns:
        float32 [width, n].
    """
    found = np.array(tile.T, order="C")  # [width, n]
    found.sort(axis=1)
    return found


def middle(values: Tile) -> Flat:
    """The median of each row: the middle value, or half the sum of the two middle ones.

    Args:
        values: float32 [width, n], each row in ascending order, n >= 1; not changed.

    Returns:
        float32 [width]; no sum overflows, and zero has no sign.
    """
    n = values.shape[1]
    found = values[:, (n - 1) // 2] * np.float32(0.5)
    found += values[:, n // 2] * np.float32(0.5)
    found += np.float32(0)  # -0 becomes 0: which of the two comes first is up to the sort
    return found


def trimmed_mean(values: Tile, f: int) -> Flat:
    """The mean of each row without its f largest and its f smallest values.

    Args:
        values: float32 [width, n], each row in ascending order, n > 2f; not changed.
        f: left out at each end.

    Returns:
        float32 [width], summed in float32 by halves (an error of a few last places).
    """
    kept = values[:, f : values.shape[1] - f]  # [width, n - 2f]
    return np.add.reduce(kept, axis=1) / np.float32(kept.shape[1])


def mean_near_middle(values: Tile, keep: int) -> Flat:
    """The mean of the `keep` values of each row that lie nearest to its median; of two equally near, the smaller one.

    In ascending order these lie in one piece, begin <= at < begin + keep. Value `at` gives way to value `at + keep`
    where that one is nearer to the median, which is so for all at < begin and for none after: of the values whose
    places are equal modulo `keep`, one remains. So no sum ever contains, however large, what is left out of it.

    Args:
        values: float32 [width, n], each row in ascending order; not changed.
        keep: how many, from 1 to n.

    Returns:
        float32 [width].
    """
    center = middle(values)[:, None]  # [width, 1]
    kept = values[:, :keep].copy()  # [width, keep]
    for at in range(0, values.shape[1] - keep, keep):
        later = values[:, at + keep : at + 2 * keep]  # [width, keep], or fewer at the end
        now = values[:, at : at + later.shape[1]]
        np.copyto(kept[:, : later.shape[1]], later, where=(center - now) > (later - center))
    return np.add.reduce(kept, axis=1) / np.float32(keep)


def weighted_sum(rows: Sequence[Fill], weights: Sequence[float], start: int, into: Flat) -> None:
    """Write sum_i weights[i] row_i of the coordinates from `start` on into `into`.

    Args:
        rows: to read from.
        weights: as many.
        start: first coordinate.
        into: float32; each coordinate is summed in float64 in the order of the rows, and infinite where float32 cannot
            hold it.
    """
    width = max(1, min(len(into), SUM_WIDTH))
    total, product, row = np.empty(width), np.empty(width), np.empty(width, dtype=np.float32)
    for at in range(0, len(into), width):
        here = slice(min(width, len(into) - at))
        total[here] = 0
        for fill, weight in zip(rows, weights, strict=True):
            fill(start + at, row[here])
            product[here] = row[here]
            product[here] *= weight
            total[here] += product[here]
        with np.errstate(over="ignore"):  # whoever makes a model of it looks at every value anyway
            into[at : at + width] = total[here]
