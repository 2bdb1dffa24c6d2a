"""Merkle trees: every leaf has a proof, and no proof stands for anything else."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.crypto import merkle
from roughfed.crypto.merkle import EMPTY, merkle_path, merkle_paths, merkle_root, merkle_verify

LEAVES = [f"leaf {i}".encode() for i in range(70)]


@pytest.mark.parametrize("count", range(1, 71))
def test_every_leaf_is_proved_and_nothing_else_is(count: int) -> None:
    leaves = LEAVES[:count]
    root, paths = merkle_root(leaves), merkle_paths(leaves)
    for index, leaf in enumerate(leaves):
        path = merkle_path(leaves, index)
        assert paths[index] == path
        assert merkle_verify(root, leaf, path, index=index, count=count)
        assert not merkle_verify(root, leaf + b"!", path, index=index, count=count)
        assert not merkle_verify(root, leaf, [*path, bytes(32)], index=index, count=count)
        assert not merkle_verify(bytes(32), leaf, path, index=index, count=count)
        for wrong in {index - 1, index + 1, index ^ 1, count, -1} - {index}:
            assert not merkle_verify(root, leaf, path, index=wrong, count=count)
        if path:
            assert not merkle_verify(root, leaf, path[:-1], index=index, count=count)
            assert not merkle_verify(root, leaf, [bytes(32), *path[1:]], index=index, count=count)
            assert not merkle_verify(root, path[0], [leaf, *path[1:]], index=index ^ 1, count=count)


@pytest.mark.parametrize("count", [2, 3, 5, 8, 31])
def test_another_count_of_leaves_is_another_tree(count: int) -> None:
    leaves = LEAVES[:count]
    path = merkle_path(leaves, count - 1)
    for other in {count + 1, 2 * count + 1}:
        longer = merkle_path(LEAVES[:other], count - 1)
        if len(longer) != len(path):
            assert not merkle_verify(merkle_root(leaves), leaves[-1], path, index=count - 1, count=other)


@given(leaves=st.lists(st.binary(max_size=40), max_size=20), at=st.integers(0, 19), new=st.binary(max_size=40))
def test_the_root_binds_every_leaf_and_its_place(leaves: list[bytes], at: int, new: bytes) -> None:
    root = merkle_root(leaves)
    changed = list(leaves)
    changed[at:at] = [new]
    assert merkle_root(changed) != root
    if at < len(leaves):
        replaced = [*leaves[:at], new, *leaves[at + 1 :]]
        assert (merkle_root(replaced) == root) == (replaced == leaves)
    assert (merkle_root(leaves[::-1]) == root) == (leaves[::-1] == leaves)


def test_an_inner_node_is_no_leaf() -> None:
    leaves = LEAVES[:4]
    left, right = (merkle_root(leaves[i : i + 2]) for i in (0, 2))
    assert merkle_root([left, right]) != merkle_root(leaves)
    inner = b"\1" + left + right
    assert not merkle_verify(merkle_root(leaves), inner[1:], [], index=0, count=1)
    assert not merkle_verify(merkle_root(leaves), inner, [], index=0, count=1)


def test_a_tree_of_one_and_of_three_by_hand() -> None:
    def h(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    a, b, c = (h(b"\0" + leaf) for leaf in (b"a", b"b", b"c"))
    assert merkle_root([b"a"]) == a
    assert merkle_root([b"a", b"b", b"c"]) == h(b"\1" + h(b"\1" + a + b) + c)
    assert merkle_root([]) == EMPTY == h(b"")


def test_all_paths_cost_one_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []
    node = merkle._node

    def counted(left: bytes, right: bytes) -> bytes:
        hashed.append(left)
        return node(left, right)

    monkeypatch.setattr(merkle, "_node", counted)
    assert len(merkle_paths(LEAVES)) == len(LEAVES)
    assert len(hashed) == len(LEAVES) - 1
    assert merkle_paths([]) == []


@pytest.mark.parametrize("index", [-1, 3, 100])
def test_there_is_no_path_to_a_leaf_that_is_not_there(index: int) -> None:
    with pytest.raises(IndexError):
        merkle_path(LEAVES[:3], index)
