"""Masks: the published key stream, exact cancellation at every width, and the same bytes by seek as in one go."""

import itertools
import json
import os
import tracemalloc
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.crypto.masks import CHUNK_BYTES, MaskReader, add_mask, lanes_at, sum_masks
from roughfed.errors import LocalProtocolError

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "secagg" / "masks.json").read_text())
KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
WIDTHS = ["uint8", "uint16", "uint32"]
SIZES = [0, 1, 15, 17, 4099, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 12_345]


def whole_stream(key: bytes, size: int, dtype: str) -> np.ndarray:
    """The mask made the plain way, in one piece."""
    data = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(size * np.dtype(dtype).itemsize))
    return np.frombuffer(data, dtype=np.dtype(dtype).newbyteorder("<"))


def random_lanes(size: int, dtype: str) -> np.ndarray:
    return np.frombuffer(os.urandom(size * np.dtype(dtype).itemsize), dtype=dtype).copy()


def test_the_key_stream_is_aes_256_ctr_as_published() -> None:
    v = {k: bytes.fromhex(x) for k, x in VECTORS["ctr"].items() if k != "source"}
    lanes = np.zeros(64, dtype=np.uint8)
    add_mask(lanes, v["key"], 1, first_lane=16 * int.from_bytes(v["counter"], "big"))
    assert (lanes ^ np.frombuffer(v["plaintext"], dtype=np.uint8)).tobytes() == v["ciphertext"]


@pytest.mark.parametrize("width", VECTORS["width"])
def test_masked_lanes_are_frozen(width: str) -> None:
    v = VECTORS["width"][width]
    add, subtract, dtype = bytes.fromhex(VECTORS["add"]), bytes.fromhex(VECTORS["subtract"]), f"uint{width}"
    lanes = np.array(v["before"], dtype=dtype)
    sum_masks(lanes, [(add, 1), (subtract, -1)])
    assert lanes.tolist() == v["after"]
    lanes = np.array(v["before"], dtype=dtype)
    add_mask(lanes, add, 1, first_lane=5)
    assert lanes.tolist() == v["first_lane_5"]
    assert lanes_at(add, np.array(v["positions"]), dtype).tolist() == v["lanes"]


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("size", SIZES)
def test_sums_equal_masks_made_in_one_piece(dtype: str, size: int) -> None:
    lanes = random_lanes(size, dtype)
    expected = lanes + whole_stream(KEY, size, dtype) - whole_stream(OTHER, size, dtype)
    sum_masks(lanes, [(KEY, 1), (OTHER, -1)])
    np.testing.assert_array_equal(lanes, expected)


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize(("group", "size"), [(2, 1), (3, 33), (5, 1023), (4, CHUNK_BYTES + 7)])
def test_pair_masks_cancel_exactly(dtype: str, group: int, size: int) -> None:
    keys = {pair: os.urandom(32) for pair in itertools.combinations(range(group), 2)}
    inputs = [random_lanes(size, dtype) for _ in range(group)]
    total = np.zeros(size, dtype=dtype)
    for member, lanes in enumerate(inputs):
        masked = lanes.copy()
        sum_masks(masked, [(key, 1 if member == a else -1) for (a, b), key in keys.items() if member in (a, b)])
        assert size < 30 or not np.array_equal(masked, lanes)
        total += masked
    np.testing.assert_array_equal(total, np.sum(inputs, axis=0, dtype=dtype))


@settings(max_examples=40)
@given(
    dtype=st.sampled_from(WIDTHS),
    size=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=4),
    signs=st.lists(st.sampled_from((1, -1)), min_size=1, max_size=4),
    data=st.data(),
)
def test_neither_order_nor_cuts_change_a_sum(
    dtype: str, size: int, cuts: list[int], signs: list[Literal[1, -1]], data: st.DataObject
) -> None:
    masks = [(os.urandom(32), sign) for sign in signs]
    whole = random_lanes(size, dtype)
    pieces = whole.copy()
    sum_masks(whole, masks)
    edges = sorted({0, size, *(cut for cut in cuts if cut < size)})
    for start, stop in data.draw(st.permutations(list(itertools.pairwise(edges)))):
        sum_masks(pieces[start:stop], data.draw(st.permutations(masks)), first_lane=start)
    np.testing.assert_array_equal(pieces, whole)


@settings(max_examples=40)
@given(dtype=st.sampled_from(WIDTHS), positions=st.lists(st.integers(0, 5000), max_size=50))
def test_lanes_by_seek_equal_the_stream(dtype: str, positions: list[int]) -> None:
    at = np.array(positions, dtype=np.int64)
    reader = MaskReader(at, dtype)
    for key in (KEY, OTHER):
        np.testing.assert_array_equal(reader.read(key), whole_stream(key, 5001, dtype)[at])


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("start", [2**32 - 3, 2**36 + 1, 2**60])
def test_lanes_far_out_are_those_of_the_stream(dtype: str, start: int) -> None:
    lanes = np.zeros(40, dtype=dtype)
    add_mask(lanes, KEY, 1, first_lane=start)
    np.testing.assert_array_equal(lanes, lanes_at(KEY, np.arange(start, start + 40), dtype))
    assert lanes.any()


def test_no_mask_is_ever_stored_whole() -> None:
    lanes = np.zeros(8_000_000, dtype=np.uint8)
    tracemalloc.start()
    sum_masks(lanes, [(KEY, 1), (OTHER, -1)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * CHUNK_BYTES


@pytest.mark.parametrize("dtype", WIDTHS)
def test_every_lane_value_is_equally_likely(dtype: str) -> None:
    """Chi-square over the bytes of the mask of a fixed key: 255 degrees of freedom, 99.9 % below 331."""
    lanes = np.zeros(400_000, dtype=dtype)
    add_mask(lanes, KEY, 1)
    planes = lanes.view(np.uint8).reshape(len(lanes), -1).T  # [w / 8, D]
    for plane in planes:
        counts = np.bincount(plane, minlength=256)
        expected = len(lanes) / 256
        assert ((counts - expected) ** 2 / expected).sum() < 331


def test_different_keys_make_different_masks_and_the_same_key_the_same() -> None:
    at = np.arange(64)
    keys = [os.urandom(32) for _ in range(100)]
    assert len({lanes_at(key, at, np.uint8).tobytes() for key in keys}) == 100
    assert lanes_at(keys[0], at, np.uint8).tobytes() == lanes_at(keys[0], at, np.uint8).tobytes()


@pytest.mark.parametrize(
    "lanes",
    [
        np.zeros(4, dtype=np.int8),
        np.zeros(4, dtype=np.uint64),
        np.zeros(4, dtype=np.float32),
        np.zeros(4, dtype=">u2"),
        np.zeros((2, 2), dtype=np.uint8),
        np.zeros(8, dtype=np.uint8)[::2],
        np.frombuffer(bytes(4), dtype=np.uint8),
    ],
    ids=["signed", "64-bit", "float", "big-endian", "matrix", "strided", "read-only"],
)
def test_other_lanes_are_refused(lanes: np.ndarray) -> None:
    with pytest.raises(LocalProtocolError, match="lanes of"):
        add_mask(lanes, KEY, 1)
    assert not lanes.any()


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_only_full_length_keys_are_taken(size: int) -> None:
    lanes = np.zeros(4, dtype=np.uint8)
    with pytest.raises(LocalProtocolError, match=f"{size} bytes, want 32"):
        sum_masks(lanes, [(KEY, 1), (bytes(size), 1)])
    with pytest.raises(LocalProtocolError, match=f"{size} bytes, want 32"):
        lanes_at(bytes(size), np.arange(3), np.uint8)
    assert not lanes.any()  # checked before the first mask is added


@pytest.mark.parametrize("sign", [0, 2, -2])
def test_a_mask_is_added_or_taken_away(sign: int) -> None:
    with pytest.raises(LocalProtocolError, match="sign"):
        add_mask(np.zeros(4, dtype=np.uint8), KEY, sign)  # pyright: ignore[reportArgumentType]


def test_places_are_checked() -> None:
    with pytest.raises(LocalProtocolError, match="position -1"):
        MaskReader(np.array([3, -1]), np.uint8)
    with pytest.raises(LocalProtocolError, match="want int64"):
        MaskReader(np.array([3.0]), np.uint8)  # pyright: ignore[reportArgumentType]
    with pytest.raises(LocalProtocolError, match="want int64"):
        MaskReader(np.zeros((2, 2), dtype=np.int64), np.uint8)
    with pytest.raises(LocalProtocolError, match="lanes of type"):
        MaskReader(np.arange(3), np.uint64)
    with pytest.raises(LocalProtocolError, match="want 0 or above"):
        add_mask(np.zeros(4, dtype=np.uint8), KEY, 1, first_lane=-1)


def test_errors_and_reprs_tell_no_key() -> None:
    reader = MaskReader(np.arange(3), np.uint8)
    reader.read(KEY)
    with pytest.raises(LocalProtocolError) as caught:
        reader.read(KEY[:-1])
    for text in (repr(reader), repr(caught.value)):
        assert KEY[:16].hex() not in text
