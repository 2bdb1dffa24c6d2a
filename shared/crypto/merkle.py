"""Merkle trees over digests: one root for many leaves, and a short proof that a leaf is under it (RFC 6962, 2.1).

Leaves and inner nodes are hashed under different prefixes, so that no inner node passes for a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

EMPTY = hashlib.sha256(b"").digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the tree over `leaves` in their order, 32 bytes; SHA-256 of nothing for no leaves."""
    if not leaves:
        return EMPTY
    level = [_leaf(leaf) for leaf in leaves]
    while len(level) > 1:
        level = [_node(*level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    return level[0]


def merkle_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Sibling hashes from leaf `index` up to the root.

    Raises:
        IndexError: no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(index)
    level, path = [_leaf(leaf) for leaf in leaves], list[bytes]()
    while len(level) > 1:
        if (sibling := index ^ 1) < len(level):
            path.append(level[sibling])
        level = [_node(*level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
        index //= 2
    return path


def merkle_verify(root: bytes, leaf: bytes, path: Sequence[bytes], *, index: int, count: int) -> bool:
    """Is `leaf` number `index` of the `count` leaves under `root`?"""
    if not 0 <= index < count:
        return False
    node, rest = _leaf(leaf), list(path)
    while count > 1:
        if index ^ 1 < count:
            if not rest:
                return False
            sibling = rest.pop(0)
            node = _node(sibling, node) if index & 1 else _node(node, sibling)
        index, count = index // 2, (count + 1) // 2
    return not rest and node == root


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
