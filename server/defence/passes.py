"""Passes over whole rows: a tile of coordinates of all of them at a time, the tiles shared out among threads.

n rows, D parameters. The rows lie in files, and memory is a tile for each thread. What the tiles give is added in the
order of the coordinates, so neither the number of threads nor their pace changes a bit. Products are left to BLAS,
which is to use one thread (OPENBLAS_NUM_THREADS=1, as the command line sets it): tiles are too small to be shared out
again (two threads of its own took eight times as long), and their bits would depend on the number of its threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from roughfed.params import Flat
from roughfed.server.defence.tiles import weighted_sum
from roughfed.server.storage.slices import SLICE, Fill, in_order

T = TypeVar("T")

THREADS = min(4, os.cpu_count() or 1)
"""Beyond a few, reading is what takes the time."""

TILE_BYTES = 8 << 20
"""Memory of one tile of all rows, float64: large enough for the matrix product, small beside any model."""


def inner_products(rows: Sequence[Fill], size: int) -> NDArray[np.float64]:
    """The Gram matrix of rows.

    float64 throughout: a product of two float32 values is exact, so squared distances are off by some 10^-15 of squared
    norms, and rows that are nearly the same are still told apart; finite values cannot overflow. Products in float32
    take 60 % of the time, but would have to be of differences from a common row, with near pairs computed again.

    Args:
        rows: to read from.
        size: D.

    Returns:
        float64 [n, n], symmetric.
    """
    n = len(rows)
    width = max(1, min(size, TILE_BYTES // (8 * max(1, n))))

    def product(start: int, stop: int) -> NDArray[np.float64]:
        tile, row = np.empty((n, stop - start)), np.empty(stop - start, dtype=np.float32)
        for fill, values in zip(rows, tile, strict=True):
            fill(start, row)
            values[:] = row
        return tile @ tile.T

    gram = np.zeros((n, n))
    for part in shared_out(product, size, width):
        gram += part
    return gram


def sum_of_rows(rows: Sequence[Fill], weights: Sequence[float], size: int) -> Flat:
    """sum_i weights[i] row_i, float32 [D]: each coordinate is summed in float64 in the order of the rows."""
    out = np.empty(size, dtype=np.float32)
    for _ in shared_out(lambda start, stop: weighted_sum(rows, weights, start, out[start:stop]), size, SLICE):
        pass  # each writes its own place
    return out


PROJECTED = 1 << 16
"""Coordinates whose signs are drawn together; fixed, since the map follows from it."""


def projected(rows: Sequence[Fill], size: int, dim: int, seed: int) -> NDArray[np.float64]:
    """float64 [n, dim]; see `View.projected`."""
    width = dim * max(1, PROJECTED // dim)

    def folded(start: int, stop: int) -> NDArray[np.float64]:
        signs = 1 - 2 * np.random.default_rng([seed, start // width]).integers(0, 2, width, dtype=np.int8)
        row, found = np.zeros(width, dtype=np.float32), np.empty((len(rows), dim))
        for at, fill in enumerate(rows):
            fill(start, row[: stop - start])
            row *= signs
            found[at] = row.reshape(-1, dim).sum(axis=0, dtype=np.float64)
        return found

    total = np.zeros((len(rows), dim))
    for part in shared_out(folded, size, width):
        total += part
    return total


MARK_RUNS, MARK_RUN = 256, 64
"""Runs of coordinates that a mark is made of, and how long each is: a small part of a large model."""

READ_WHOLE = 1 << 20
"""Coordinates up to which a row is read at once for its mark: one large read costs less than many small ones."""


def marked(rows: Sequence[Fill], size: int, dim: int, seed: int) -> NDArray[np.float64]:
    """A few numbers of a sample of each row's coordinates: equal rows have equal marks, others as good as never.

    The sample, and a sign for each of its coordinates, follow from the seed; the d-th of them is added to number d mod
    dim. Cosines of marks estimate those of the rows, as well as such a sample can.

    Args:
        rows: to read from.
        size: D.
        dim: numbers of a mark.
        seed: of the sample; secret, or a row could differ beside it.

    Returns:
        float64 [n, dim].
    """
    rng = np.random.default_rng([seed, size])
    length = min(size, MARK_RUN)
    starts = np.unique(rng.integers(0, size - length + 1, MARK_RUNS))
    whole = size <= MARK_RUNS * MARK_RUN
    runs = [(0, size)] if whole else [(int(start), length) for start in starts]
    total = sum(count for _, count in runs)
    signs = 1.0 - 2.0 * rng.integers(0, 2, total)
    found, sample = np.zeros((len(rows), dim)), np.empty(total, dtype=np.float32)
    row = np.empty(size if size <= READ_WHOLE else 0, dtype=np.float32)
    for at, fill in enumerate(rows):
        place = 0
        if len(row):
            fill(0, row)
        for start, count in runs:
            if len(row):
                sample[place : place + count] = row[start : start + count]
            else:
                fill(start, sample[place : place + count])
            place += count
        found[at] = np.bincount(np.arange(total) % dim, weights=sample * signs, minlength=dim)
    return found


def shared_out(work: Callable[[int, int], T], size: int, width: int) -> Iterator[T]:
    """`work(start, stop)` of every tile, from a few threads, in the order of the tiles; after an error, no more."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="rows") as pool:
        yield from in_order(pool, work, size, width=width, ahead=2 * THREADS)
