"""The content hash: one function, so that every party and every file agrees on it.

It is BLAKE3: at 10M parameters SHA-256 (with the processor's own instructions) costs a quarter of all the CPU time of a
round, BLAKE3 a twentieth (docs/decisions/0005-content-hash.md). Small signed things (headers, rosters, Merkle nodes)
stay with SHA-256, where speed does not matter.
"""

from __future__ import annotations

from typing import Protocol

from blake3 import blake3

DIGEST_BYTES = 32


class Hasher(Protocol):
    """The part of a hash object that we use."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Hash more bytes."""
        ...

    def digest(self) -> bytes:
        """The hash of all bytes so far, 32 bytes."""
        ...


def hasher() -> Hasher:
    """A fresh incremental hash."""
    return blake3()


def content_digest(data: bytes | memoryview) -> bytes:
    """The hash of one piece of data, 32 bytes."""
    return blake3(data).digest()
