"""A model on its way down: written over an old file, which says at its front how many bytes are new.

A file that is written over has a length that says nothing (docs/decisions/0033-files-written-over.md). In place of the
header of a model, which comes last, stand a mark, the digest of the model that is wanted, and how many bytes of its
parameters are there. The digest is needed: the old file may be another model's half.
"""

from __future__ import annotations

import os
from pathlib import Path

from roughfed.digest import DIGEST_BYTES, Hasher, hasher
from roughfed.file_pool import claim
from roughfed.files import disk_errors, write_at

MARK = b"roughprt"
FRONT = len(MARK) + DIGEST_BYTES + 8
"""Bytes of mark, digest and number; the header of a model is longer."""


def take_up(path: Path, digest: bytes, *, start: int, size: int, spare: Path | None) -> tuple[Hasher, int]:
    """Begin a partial model file, or hash what is there.

    Args:
        path: of the file; one without the mark, or with another model's digest, is begun anew.
        digest: of the parameters, 32 bytes.
        start: where the parameters begin in it.
        size: bytes of parameters.
        spare: an old file to be written over, if there is one.

    Returns:
        the hash of the parameters that are there, and their number of bytes.

    Raises:
        StorageError: the disk refused.
    """
    if spare is not None and not path.exists():
        claim(spare, path)
    hashed, at = hasher(), 0
    with disk_errors("store the model"):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            front, own = os.pread(fd, FRONT, 0), MARK + digest
            noted = int.from_bytes(front[len(own) :], "little") if front.startswith(own) else 0
            here = min(noted, size, os.fstat(fd).st_size - start)
            while at < here and (piece := os.pread(fd, min(1 << 20, here - at), start + at)):
                hashed.update(piece)
                at += len(piece)
            note(digest, fd, at)
        finally:
            os.close(fd)
    return hashed, at


def note(digest: bytes, fd: int, at: int) -> None:
    """So many bytes of these parameters are there."""
    write_at(fd, memoryview(MARK + digest + at.to_bytes(8, "little")), 0)


def complete(path: Path, header: bytes, size: int) -> None:
    """All parameters are there: the file becomes a model's.

    Raises:
        StorageError: the disk refused.
    """
    with disk_errors("store the model"):
        os.truncate(path, len(header) + size)
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            write_at(fd, memoryview(header), 0)
        finally:
            os.close(fd)
