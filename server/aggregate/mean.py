"""The weighted mean of updates that lie in files: one slice of every file at a time.

Memory is a few slices, whatever the model and however many the clients. Each coordinate is summed in the order of the
rows, so the result does not depend on who was first, nor on the number of threads.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from roughfed.codec import CODECS, Codec
from roughfed.errors import StorageError
from roughfed.files import disk_errors
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


@contextmanager
def weighted_mean(updates: Sequence[tuple[Path, float]], *, codec: str, size: int) -> Iterator[Mean]:
    """The mean of received updates, for as long as their files are open.

    Args:
        updates: (payload file, weight), in order of the clients' names; at least one weight above zero.
        codec: which row of CODECS their payloads are of; each was checked when it arrived.
        size: D.

    Yields:
        (start, stop) -> the mean's coordinates, float32 [stop - start].

    Raises:
        StorageError: a file is gone.
    """
    weights = [weight for _, weight in updates]
    with ExitStack() as stack:
        rows = [stack.enter_context(opened(path, codec=codec, size=size)) for path, _ in updates]
        yield partial(mean_slice, rows, weights)


@contextmanager
def opened(path: Path, *, codec: str, size: int) -> Iterator[Fill]:
    """A payload file as something to read slices from."""
    with disk_errors(f"read {path}"):
        fd = os.open(path, os.O_RDONLY)
    try:
        if codec == "identity":  # the file is the vector: no page of it need be mapped
            yield lambda start, into: read_exactly(fd, into, 4 * start)
        else:
            yield partial(_decode, CODECS[codec], mapped(fd), size)
    finally:
        os.close(fd)


def mapped(fd: int) -> memoryview:
    """A whole file as bytes, resident only where it is touched; unmapped when nobody holds them any more."""
    if not os.fstat(fd).st_size:  # a mapping cannot be empty, a sparse payload can
        return memoryview(b"")
    return memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))


def _decode(codec: Codec, payload: memoryview, size: int, start: int, into: Flat) -> None:
    into[:] = codec.decode(payload, start, start + len(into), size=size)


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


def slices(size: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of every slice of a vector of `size` coordinates."""
    return ((start, min(start + SLICE, size)) for start in range(0, size, SLICE))


def in_order(executor: Executor, work: Callable[[int, int], T], size: int, *, ahead: int = 4) -> Iterator[T]:
    """`work(start, stop)` of every slice, in order, with a few computed ahead (bounded memory)."""
    places = slices(size)
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
