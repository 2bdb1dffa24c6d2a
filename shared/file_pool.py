"""Large files that are written anew in every round: over the pages of one that nobody needs any more.

A fresh file of 40 MB costs the kernel 8 ms: pages are taken, cleared and charged, blocks reserved. On a virtual machine
whose host takes free memory back it costs 100 ms. Over the pages of an old file the same bytes cost 4 ms, and a vector
that is computed in the mapped file need not be copied into it (docs/decisions/0033-files-written-over.md).

What is read from such a file by name, as long as the name stands, is never written over: a file is retired when its
name is taken away, where it would have been deleted.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from roughfed.files import disk_errors

FOLDER = "spare"
"""Of a state directory: old files to be written over, one of each kind. It may be deleted at any time."""

_ZEROS = memoryview(bytes(1 << 20))


def spare_of(folder: Path, kind: str) -> Path:
    """Where the spare file of a kind lies, of the state directory `folder`."""
    return folder / FOLDER / kind


def retire(path: Path, spare: Path) -> None:
    """Take a file's name away, and keep it to be written over; what was kept before goes. Nothing if it is gone."""
    with disk_errors(f"set {path.name} aside"):
        spare.parent.mkdir(exist_ok=True, mode=0o700)
        with suppress(FileNotFoundError):
            path.replace(spare)


def claim(spare: Path, path: Path) -> None:
    """Give the spare file a name, for who writes over it (`rewritten`); nothing if there is none.

    Nor if it has another name still: of a snapshot made of links, say. Nor if it is another account's.
    """
    with disk_errors(f"write {path.name}"), suppress(FileNotFoundError):
        spare.replace(path)
        about = path.stat()
        if about.st_nlink > 1 or about.st_uid != os.geteuid():
            path.unlink()


def keep_as_spare(path: Path, spare: Path) -> None:
    """The same for a file whose name is about to be given to another one: until then both names stand."""
    with suppress(OSError):  # no such file, or no links on this file system: then a fresh file is written
        spare.parent.mkdir(exist_ok=True, mode=0o700)
        spare.unlink(missing_ok=True)
        os.link(path, spare)


def open_over(path: Path, spare: Path) -> int:
    """A descriptor of the spare file under its new name, whatever is in it and however long; of a fresh one without.

    A file that has another name still (of a backup, or after a crash between the link and the new name) is left alone.

    Raises:
        OSError: the disk refused.
    """
    with suppress(FileNotFoundError):
        spare.replace(path)
    with suppress(FileNotFoundError):
        if path.stat().st_nlink > 1:
            path.unlink()
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def written_over(path: Path, spare: Path, size_bytes: int) -> NDArray[np.uint8]:
    """A file of so many bytes, mapped to be written: the spare one where there is one, whatever is in it.

    Its blocks are there before it is mapped: a full disk is an error here, not a signal later. It is unmapped when
    nobody holds the array, or a view of it, any more.

    Raises:
        StorageError: the disk refused.
    """
    with disk_errors(f"write {path.name}"):
        fd = open_over(path, spare)
        try:
            os.ftruncate(fd, min(size_bytes, have := os.fstat(fd).st_size))
            while have < size_bytes:  # written, not only made long: so the blocks are there, and pages are large
                have += os.pwrite(fd, _ZEROS[: size_bytes - have], have)
            return np.frombuffer(mmap.mmap(fd, size_bytes), dtype=np.uint8)
        finally:
            os.close(fd)


@contextmanager
def rewritten(path: Path) -> Generator[BinaryIO]:
    """Write a file from its beginning, over what is there; in the end what was longer is cut off."""

    def keep(name: str, flags: int) -> int:
        return os.open(name, flags & ~os.O_TRUNC, 0o666)

    with open(path, "wb", opener=keep) as file:
        yield file
        file.truncate()
