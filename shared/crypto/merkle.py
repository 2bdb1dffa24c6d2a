"""Merkle trees over digests: one root for many leaves, and a short proof that a leaf is under it (RFC 6962, 2.1).

Leaves and inner nodes are hashed under different prefixes, so that no inner node passes for a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

EMPTY = hashlib.sha256(b"").digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the tree over `leaves` in their order, 32 bytes; SHA-256 of nothing for no leaves."""
    return _levels(leaves)[-1][0] if leaves else EMPTY


def merkle_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Sibling hashes from leaf `index` up to the root.

    Raises:
        IndexError: no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(index)
    return _path(_levels(leaves), index)


def merkle_paths(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """The path of every leaf, from one tree: asked for one by one, each would cost as much as all of them."""
    levels = _levels(leaves)
    return [_path(levels, index) for index in range(len(leaves))]


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


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """The tree, from the leaves' hashes to the root; a last node without a sibling goes up as it is."""
    level = [_leaf(leaf) for leaf in leaves]
    levels = [level]
    while len(level) > 1:
        level = [_node(*level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
        levels.append(level)
    return levels


def _path(levels: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    return [level[sibling] for depth, level in enumerate(levels) if (sibling := index >> depth ^ 1) < len(level)]


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
