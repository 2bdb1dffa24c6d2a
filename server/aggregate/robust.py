"""Step 11 where a defence says how the rows become one: coefficients, or a function of tiles of coordinates.

n rows, D parameters. Memory is a tile of all rows for each thread that reads, whatever the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from roughfed.params import Flat
from roughfed.server.defence import tiles
from roughfed.server.defence.verdict import Coefficients, Coordinatewise
from roughfed.server.storage.slices import Fill, Mean


def combined(how: Coefficients | Coordinatewise, rows: Mapping[str, Fill]) -> Mean:
    """The aggregate, to be read slice by slice, from several threads.

    Args:
        how: of a verdict.
        rows: every row that it names, float32 [D] each.
    """
    return _weighted(how, rows) if isinstance(how, Coefficients) else _by_coordinate(how, rows)


def _weighted(how: Coefficients, rows: Mapping[str, Fill]) -> Mean:
    used = {name: weight for name, weight in sorted(how.by_name.items()) if weight}
    fills, weights = [rows[name] for name in used], list(used.values())

    def mean(start: int, stop: int) -> Flat:
        out = np.empty(stop - start, dtype=np.float32)
        tiles.weighted_sum(fills, weights, start, out)
        return out

    return mean


def _by_coordinate(how: Coordinatewise, rows: Mapping[str, Fill]) -> Mean:
    fills = [rows[name] for name in how.rows]

    def mean(start: int, stop: int) -> Flat:
        out = np.empty(stop - start, dtype=np.float32)
        tile = np.empty((len(fills), min(stop - start, tiles.WIDTH)), dtype=np.float32)
        for at, end in pairwise([*range(start, stop, tiles.WIDTH), stop]):
            here = tile[:, : end - at]
            for fill, row in zip(fills, here, strict=True):
                fill(at, row)
            with np.errstate(over="ignore"):  # whoever makes a model of it looks at every value anyway
                out[at - start : end - start] = how.of(here)
        return out

    return mean
