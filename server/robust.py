"""Step 11 where a defence says how the rows become one: coefficients, or a function of tiles of coordinates.

n rows, D parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from roughfed.params import Flat
from roughfed.server.aggregate.mean import Fill, Mean
from roughfed.server.defence.verdict import Coefficients, Coordinatewise


def combined(how: Coefficients | Coordinatewise, rows: Mapping[str, Fill]) -> Mean:
    """The aggregate, to be read slice by slice, from several threads.

    Args:
        how: of a verdict.
        rows: every row that it names, float32 [D] each.
    """
    return _weighted(how, rows) if isinstance(how, Coefficients) else _by_coordinate(how, rows)


def _weighted(how: Coefficients, rows: Mapping[str, Fill]) -> Mean:
    used = [(rows[name], weight) for name, weight in sorted(how.by_name.items()) if weight]

    def mean(start: int, stop: int) -> Flat:
        total, row = np.zeros(stop - start), np.empty(stop - start, dtype=np.float32)
        for fill, weight in used:
            fill(start, row)
            total += weight * row.astype(np.float64)
        with np.errstate(over="ignore"):  # whoever makes a model of it looks at every value anyway
            return total.astype(np.float32)

    return mean


TILE = 1 << 14
"""Coordinates of one tile: of 100 rows, 6.4 MB."""


def _by_coordinate(how: Coordinatewise, rows: Mapping[str, Fill]) -> Mean:
    fills = [rows[name] for name in how.rows]

    def mean(start: int, stop: int) -> Flat:
        out = np.empty(stop - start, dtype=np.float32)
        for at in range(start, stop, TILE):
            width = min(TILE, stop - at)
            tile = np.empty((len(fills), width), dtype=np.float32)
            for fill, row in zip(fills, tile, strict=True):
                fill(at, row)
            out[at - start : at - start + width] = how.of(tile)
        return out

    return mean
