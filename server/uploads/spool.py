"""Received updates as they lie on disk: payloads of a codec, read slice by slice, whatever their size."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from roughfed.codec import CODECS
from roughfed.errors import StorageError
from roughfed.file_pool import FOLDER, claim, retire
from roughfed.files import disk_errors
from roughfed.params import Flat
from roughfed.server.metrics.stopwatch import Stopwatch
from roughfed.server.storage.slices import Fill, Mean, mean_slice, read_exactly


def update_name(run: str, number: int, client: str) -> str:
    """File name of a client's update in a round. Nothing from the wire forms a path: it is a hash."""
    return hashlib.sha256(f"{run}|{number}|{client}".encode()).hexdigest() + ".update"


class SpareFiles:
    """Spool files of rounds that are over, to be written over by the next ones (`roughfed.file_pool`)."""

    def __init__(self, folder: Path) -> None:
        """What an earlier process left in the state directory `folder`."""
        self._folder = folder / FOLDER
        numbered = {path: path.name.partition("-")[2] for path in self._folder.glob("update-*")}
        self._kept = sorted(path for path, number in numbered.items() if number.isdecimal())
        self._next = 1 + max((int(numbered[path]) for path in self._kept), default=0)

    def give(self, path: Path) -> None:
        """Name an old file `path`, if there is one that can be had: whatever is in it, and however long it is."""
        if self._kept:
            with suppress(StorageError):
                claim(self._kept.pop(), path)

    def take(self, path: Path) -> None:
        """Take a file's name, and keep the file if it can be kept; nothing if it is gone."""
        spare = self._folder / f"update-{self._next}"
        if path.exists():
            with suppress(StorageError):
                retire(path, spare)
                self._kept.append(spare)
                self._next += 1
        path.unlink(missing_ok=True)  # where it could not be kept: on another disk, on a full one

    def trim(self, most: int) -> None:
        """Delete all but so many."""
        while len(self._kept) > most:
            with suppress(OSError):  # not ours
                self._kept.pop().unlink(missing_ok=True)


@contextmanager
def weighted_mean(
    updates: Sequence[tuple[Path, float]], *, codec: str, size: int, work: Stopwatch | None = None
) -> Generator[Mean]:
    """The mean of received updates, for as long as their files are open.

    Args:
        updates: (payload file, weight), in order of the clients' names; at least one weight above zero.
        codec: which row of CODECS their payloads are of; each was checked when it arrived.
        size: D.
        work: notes how long decoding takes.

    Yields:
        (start, stop) -> the mean's coordinates, float32 [stop - start].

    Raises:
        StorageError: a file is gone.
    """
    weights = [weight for _, weight in updates]
    with ExitStack() as stack:
        rows = [stack.enter_context(opened(path, codec=codec, size=size, work=work)) for path, _ in updates]
        yield partial(mean_slice, rows, weights)


@contextmanager
def opened(path: Path, *, codec: str, size: int, work: Stopwatch | None = None) -> Generator[Fill]:
    """A payload file as something to read slices from; `work` notes how long decoding takes."""
    with disk_errors(f"read {path}"):
        fd = os.open(path, os.O_RDONLY)
    try:
        if codec == "identity":  # the file is the vector: no page of it need be mapped
            yield lambda start, into: read_exactly(fd, into, 4 * start)
        else:
            yield partial(_decode, codec, mapped(fd), size, work or Stopwatch())
    finally:
        os.close(fd)


def mapped(fd: int) -> memoryview:
    """A whole file as bytes, resident only where it is touched; unmapped when nobody holds them any more."""
    if not os.fstat(fd).st_size:  # a mapping cannot be empty, a sparse payload can
        return memoryview(b"")
    return memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))


def _decode(codec: str, payload: memoryview, size: int, work: Stopwatch, start: int, into: Flat) -> None:
    with work.time("decode", codec):
        into[:] = CODECS[codec].decode(payload, start, start + len(into), size=size)
