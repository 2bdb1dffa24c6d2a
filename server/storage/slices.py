"""The weighted mean of updates that lie in files: one slice of every file at a time.

Memory is a few slices, whatever the model and however many the clients. Each coordinate is summed in the order of the
rows, so the result does not depend on who was first, nor on the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np

from roughfed.errors import StorageError
from roughfed.params import Flat

T = TypeVar("T")
Mean = Callable[[int, int], Flat]

SLICE = 1 << 18
"""Coordinates of one slice: 1 MiB, which stays in a core's cache while all the clients are added to it.

A multiple of the quantisers' block, so that a slice is quantised as it would be within the whole.
"""


class Fill(Protocol):
    """One update, read piece by piece."""

    def __call__(self, start: int, into: Flat) -> None:
        """Write its coordinates from `start` on into `into`, float32."""
        ...


def mean_slice(updates: Sequence[Fill], weights: Sequence[float], start: int, stop: int) -> Flat:
    """sum_i weights[i] * update_i / sum_i weights[i] over the coordinates start..stop.

    Args:
        updates: N of them.
        weights: non-negative, N of them, not all zero.
        start: first coordinate.
        stop: one past the last.

    Returns:
        float32 [stop - start].
    """
    total = np.zeros(stop - start, dtype=np.float32)
    row = np.empty_like(total)
    for fill, weight in zip(updates, weights, strict=True):
        fill(start, row)
        if weight != 1.0:
            row *= np.float32(weight)
        total += row
    total /= np.float32(sum(weights))
    return total


def read_exactly(fd: int, into: Flat, offset: int) -> None:
    """Fill `into` from byte `offset` of a file.

    Raises:
        StorageError: the file is too short.
    """
    view, at = memoryview(into).cast("B"), 0
    while at < len(view):
        got = os.preadv(fd, [view[at:]], offset + at)
        if got == 0:
            raise StorageError(f"a stored vector ends at byte {offset + at}")
        at += got


def slices(size: int, width: int | None = None) -> Iterator[tuple[int, int]]:
    """(start, stop) of every slice of a vector of `size` coordinates, SLICE wide or `width`."""
    step = width or SLICE
    return ((start, min(start + step, size)) for start in range(0, size, step))


def in_order(
    executor: Executor, work: Callable[[int, int], T], size: int, *, ahead: int = 4, width: int | None = None
) -> Iterator[T]:
    """`work(start, stop)` of every slice, in order, with a few computed ahead (bounded memory)."""
    places = slices(size, width)
    running: list[Future[T]] = [executor.submit(work, *place) for place in islice(places, ahead)]
    try:
        while running:
            result = running.pop(0).result()
            running.extend(executor.submit(work, *place) for place in islice(places, 1))
            yield result
    finally:  # after an error: what still runs reads files that the caller is about to close
        for future in running:
            future.cancel()
        wait(running)
