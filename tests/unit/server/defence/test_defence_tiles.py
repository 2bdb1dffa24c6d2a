"""Tiles of coordinates against numpy's own medians and slow loops, and that neither width nor order changes a bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.server.defence import tiles
from roughfed.server.defence.tiles import mean_near_middle, middle, ordered, trimmed_mean, weighted_sum
from roughfed.server.defence.view import reader

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 23)
widths = st.integers(1, 40)
KERNELS = {
    "middle": middle,
    "trimmed": lambda values: trimmed_mean(values, (values.shape[1] - 1) // 3),
    "near": lambda values: mean_near_middle(values, 1 + values.shape[1] // 3),
}


def tile_of(seed: int, n: int, width: int) -> np.ndarray:
    """Bell-shaped, with a few values that are far away, some that are equal, and zeros of both signs."""
    rng = np.random.default_rng(seed)
    tile = rng.normal(size=(n, width)).astype(np.float32)
    tile[rng.random((n, width)) < 0.1] *= np.float32(1e6)
    tile[rng.random((n, width)) < 0.1] = rng.choice(np.array([0.0, -0.0, 1.0], np.float32))
    return tile


def nearest_to_the_median(values: list[float], keep: int) -> list[float]:
    """El Mhamdi et al., section 4, word by word; of two equally near the smaller one."""
    center = float(np.median(values))
    return sorted(values, key=lambda value: (abs(value - center), value))[:keep]


@given(seed=seeds, n=sizes, width=widths)
def test_each_coordinate_is_ordered_and_the_tile_stays(seed: int, n: int, width: int) -> None:
    tile = tile_of(seed, n, width)
    before = tile.copy()
    values = ordered(tile)
    assert values.flags.c_contiguous
    np.testing.assert_array_equal(values, np.sort(tile, axis=0).T)
    assert not np.shares_memory(values, tile)
    np.testing.assert_array_equal(tile, before)


@given(seed=seeds, n=sizes, width=widths)
def test_the_middle_is_numpys_median(seed: int, n: int, width: int) -> None:
    tile = tile_of(seed, n, width)
    found = middle(ordered(tile))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.median(tile, axis=0))
    assert not np.signbit(found[found == 0]).any()


def test_the_middle_of_large_values_does_not_overflow() -> None:
    most = np.finfo(np.float32).max
    np.testing.assert_array_equal(middle(np.array([[most, most], [-most, most]], np.float32)), [most, 0])


@given(seed=seeds, n=sizes, width=widths, data=st.data())
def test_the_trimmed_mean_is_that_of_a_slow_loop(seed: int, n: int, width: int, data: st.DataObject) -> None:
    f = data.draw(st.integers(0, (n - 1) // 2))
    tile = tile_of(seed, n, width)
    found = trimmed_mean(ordered(tile), f)
    assert found.dtype == np.float32
    for at in range(width):
        kept = sorted(tile[:, at].tolist())[f : n - f]
        assert found[at] == pytest.approx(np.mean(kept), rel=1e-6, abs=1e-6 * np.abs(kept).mean())


@given(seed=seeds, n=sizes, width=widths, data=st.data())
def test_the_mean_near_the_middle_is_that_of_a_slow_loop(seed: int, n: int, width: int, data: st.DataObject) -> None:
    """Whole numbers, so that distances and sums are exact and ties are many."""
    keep = data.draw(st.integers(1, n))
    rng = np.random.default_rng(seed)
    tile = rng.integers(-6, 7, size=(n, width)).astype(np.float32)
    tile[rng.random((n, width)) < 0.2] *= 2**10
    found = mean_near_middle(ordered(tile), keep)
    assert found.dtype == np.float32
    for at in range(width):
        kept = nearest_to_the_median(tile[:, at].tolist(), keep)
        assert found[at] == pytest.approx(np.mean(kept), rel=1e-6, abs=1e-6 * np.abs(kept).mean())


def test_a_far_value_leaves_nothing_behind() -> None:
    """A sum from which it were taken off again would be 0."""
    line = np.array([[-1e30, 0.1, 0.2, 0.3, 1e30]], np.float32)
    assert mean_near_middle(line, 3)[0] == pytest.approx(0.2, rel=1e-6)


def test_of_two_equally_near_the_smaller_one_counts() -> None:
    line = np.array([[0.0, 1.0, 2.0, 3.0, 4.0]], np.float32)  # around 2: itself, then 1 before 3, and 0 before 4
    assert [float(mean_near_middle(line, keep)[0]) for keep in (1, 2, 3, 4, 5)] == [2, 1.5, 2, 1.5, 2]


@pytest.mark.parametrize("name", KERNELS)
@given(seed=seeds, n=st.integers(1, 150), data=st.data())
def test_neither_place_nor_width_nor_order_changes_a_bit(name: str, seed: int, n: int, data: st.DataObject) -> None:
    tile = tile_of(seed, n, 50)
    whole = KERNELS[name](ordered(tile))
    start = data.draw(st.integers(0, 49))
    stop = data.draw(st.integers(start + 1, 50))
    order = np.random.default_rng(seed).permutation(n)
    assert KERNELS[name](ordered(tile[:, start:stop])).tobytes() == whole[start:stop].tobytes()
    assert KERNELS[name](ordered(np.asfortranarray(tile[order]))).tobytes() == whole.tobytes()


@given(seed=seeds, n=st.integers(0, 9), width=widths, narrow=st.integers(1, 50), start=st.integers(0, 5))
def test_a_weighted_sum_is_that_of_a_slow_loop(seed: int, n: int, width: int, narrow: int, start: int) -> None:
    rows = tile_of(seed, n, start + width)
    weights = np.random.default_rng(seed).normal(size=n).tolist()
    slow = np.zeros(width)
    for row, weight in zip(rows, weights, strict=True):
        slow += weight * row[start:].astype(np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "SUM_WIDTH", narrow)
        found = np.full(width, np.nan, np.float32)
        weighted_sum([reader(row) for row in rows], weights, start, found)
    np.testing.assert_array_equal(found, slow.astype(np.float32))


def test_a_sum_beyond_float32_is_infinite() -> None:
    found = np.zeros(2, np.float32)
    weighted_sum([reader(np.full(2, np.finfo(np.float32).max))] * 2, [1.0, 1.0], 0, found)
    assert np.isposinf(found).all()
