"""The content hash: one function, so that every party and every file agrees on it.

It is SHA-256: in every standard library, with hardware support on the machines this runs on.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

DIGEST_BYTES = 32


class Hasher(Protocol):
    """The part of hashlib's objects that we use."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Hash more bytes."""
        ...

    def digest(self) -> bytes:
        """The hash of all bytes so far, 32 bytes."""
        ...


def hasher() -> Hasher:
    """A fresh incremental hash."""
    return hashlib.sha256()


def content_digest(data: bytes | memoryview) -> bytes:
    """The hash of one piece of data, 32 bytes."""
    return hashlib.sha256(data).digest()
