"""The rotation against a slow reference, and why its blocks are strided."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from roughfed.codec.plan import ChainParams, Layout, layout_of, plan_lanes
from roughfed.codec.rotation import rotate, rotate_back
from roughfed.codec.rounding import round_rows
from roughfed.codec.subset import kept_rows
from roughfed.errors import LocalProtocolError

SEED = bytes(range(32))


def padded(values: np.ndarray, layout: Layout) -> np.ndarray:
    out = np.zeros(layout.padded, dtype=np.float32)
    out[: len(values)] = values
    return out


def signs_of(layout: Layout, seed: bytes) -> np.ndarray:
    """The signs, read off the first row of the transform, which is 1 / sqrt(H) everywhere: one row at a time."""
    signs = np.empty((layout.rows, layout.columns))
    for row in range(layout.rows):
        unit = np.zeros((layout.rows, layout.columns), dtype=np.float32)
        unit[row] = 1
        flat = unit.reshape(-1)
        rotate(flat, layout, seed)
        signs[row] = np.sign(flat.reshape(layout.rows, layout.columns)[0])
    return signs


@pytest.mark.parametrize(
    "layout", [Layout(200, 64, 4), Layout(40, 32, 33), Layout(7, 8, 1), Layout(1, 1, 1), Layout(36_000, 8, 4500)]
)
def test_it_is_the_strided_hadamard_transform_with_signs(layout: Layout) -> None:
    values = np.random.default_rng(0).normal(size=layout.padded).astype(np.float32)
    signs = signs_of(layout, SEED)
    assert set(np.unique(signs)) <= {-1, 1}
    blocks = values.reshape(layout.rows, layout.columns).astype(np.float64)
    wanted = hadamard(layout.rows) @ (signs * blocks) / np.sqrt(layout.rows)
    rotate(values, layout, SEED)
    np.testing.assert_allclose(values.reshape(wanted.shape), wanted, atol=1e-5)


@settings(max_examples=30)
@given(size=st.integers(1, 30_000), seed=st.binary(min_size=32, max_size=32), data=st.integers(0, 2**32 - 1))
def test_back_undoes_it_and_norms_stay(size: int, seed: bytes, data: int) -> None:
    layout = layout_of(size)
    values = np.random.default_rng(data).normal(size=size).astype(np.float32)
    work = padded(values, layout)
    rotate(work, layout, seed)
    assert np.linalg.norm(work) == pytest.approx(np.linalg.norm(values), rel=1e-5)
    rotate_back(work, layout, seed)
    np.testing.assert_allclose(work, padded(values, layout), atol=1e-5)


def test_the_scale_rides_along() -> None:
    layout = layout_of(5000)
    values = np.random.default_rng(1).normal(size=layout.padded).astype(np.float32)
    scaled = values.copy()
    rotate(values, layout, SEED)
    rotate(scaled, layout, SEED, scale=0.5)
    np.testing.assert_array_equal(scaled, values * np.float32(0.5))


def test_the_signs_are_the_seeds_and_balanced() -> None:
    layout = Layout(4096, 64, 64)
    signs = signs_of(layout, SEED)
    assert abs(signs.mean()) < 4 / 64  # four standard deviations
    assert abs((signs[:, :-1] * signs[:, 1:]).mean()) < 4 / 64
    assert abs((signs[:-1] * signs[1:]).mean()) < 4 / 64
    assert abs((signs * signs_of(layout, bytes(32))).mean()) < 4 / 64


def test_every_run_gives_the_same_bits() -> None:
    layout = layout_of(70_000)
    values = np.random.default_rng(2).normal(size=layout.padded).astype(np.float32)
    other = values.copy()
    rotate(values, layout, SEED)
    rotate(other, layout, SEED)
    assert values.tobytes() == other.tobytes()


def test_strided_blocks_mix_layers_and_contiguous_ones_do_not() -> None:
    """Layer scales of 10, 3 and 1 and a common range: the regression that the strided form is there for."""
    sizes = np.array([1, 3, 8]) << 16
    values = np.random.default_rng(3).normal(size=sizes.sum()).astype(np.float32)
    values *= np.repeat(np.float32([10, 3, 1]), sizes)
    params = ChainParams(len(values), plan_lanes(16), float(np.linalg.norm(values)), SEED)

    def lost(rotated: np.ndarray) -> float:
        energy = float(np.sum(rotated.astype(np.float64) ** 2))
        round_rows(rotated, kept_rows(params), params, secret=bytes(32))  # leaves the error
        return float(np.sum(rotated.astype(np.float64) ** 2)) / energy

    strided = values.copy()
    rotate(strided, params.layout, SEED)
    contiguous = np.concatenate([turned(block) for block in values.reshape(-1, 4096)])
    assert lost(strided) < 0.022
    assert lost(contiguous) > 0.15


def turned(block: np.ndarray) -> np.ndarray:
    """One contiguous block rotated by itself: a layout of one column."""
    out = block.copy()
    rotate(out, Layout(4096, 4096, 1), SEED)
    return out


@pytest.mark.parametrize(
    "values", [np.zeros(63, np.float32), np.zeros(64), np.zeros(128, np.float32)[::2], np.zeros((8, 8), np.float32)]
)
def test_other_vectors_are_refused(values: np.ndarray) -> None:
    with pytest.raises(LocalProtocolError, match="want contiguous float32"):
        rotate(values, Layout(64, 64, 1), SEED)


def test_a_seed_has_32_bytes() -> None:
    with pytest.raises(LocalProtocolError, match="a seed of 16 bytes"):
        rotate(np.zeros(64, np.float32), Layout(64, 64, 1), bytes(16))


def test_the_subset_is_fair_and_public() -> None:
    params = [ChainParams(4096, plan_lanes(16), 1.0, i.to_bytes(32, "big"), 16) for i in range(400)]
    rows = [kept_rows(p) for p in params]
    assert all(len(r) == 256 and (np.diff(r) > 0).all() for r in rows)
    np.testing.assert_array_equal(rows[0], kept_rows(params[0]))
    count = np.bincount(np.concatenate(rows), minlength=4096)  # 25 each, sd 4.8
    assert count.min() > 5
    assert count.max() < 55
    assert count.std() == pytest.approx(np.sqrt(400 / 16 * 15 / 16), rel=0.1)


def test_without_a_subset_all_rows_are_kept() -> None:
    params = ChainParams(300, plan_lanes(16), 1.0, SEED)
    np.testing.assert_array_equal(kept_rows(params), np.arange(512))
