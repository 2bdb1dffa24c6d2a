"""Stochastic rounding and sums of codes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.codec.plan import ChainParams, plan_lanes
from roughfed.codec.rounding import round_rows, spread_sums
from roughfed.codec.subset import kept_rows
from roughfed.errors import LocalProtocolError, RemoteProtocolError

PARAMS = ChainParams(4096, plan_lanes(16), 1.0, bytes(range(32)))


def secret(i: int) -> bytes:
    return i.to_bytes(32, "little")


def codes_of(values: np.ndarray, params: ChainParams, i: int = 0) -> np.ndarray:
    return round_rows(values.copy(), kept_rows(params), params, secret=secret(i))


def decoded(codes: np.ndarray, params: ChainParams) -> np.ndarray:
    return (codes.astype(np.float64) - params.lanes.zero) * params.step


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_rounding_is_unbiased(bits: int) -> None:
    params = replace(PARAMS, lanes=plan_lanes(16, bits=bits))
    low, high = -params.lanes.zero * params.step, (params.lanes.levels - 1 - params.lanes.zero) * params.step
    values = np.linspace(low, high, 4096, dtype=np.float32)
    runs = 300
    mean = sum(decoded(codes_of(values, params, i), params) for i in range(runs)) / runs
    error = (mean - values) / params.step  # one run has a variance of at most 1/4
    assert np.abs(error).max() < 5 * 0.5 / np.sqrt(runs)
    assert abs(error.mean()) < 5 * 0.41 / np.sqrt(runs * 4096) + 1 / 512  # half a step of a byte's dither


@pytest.mark.parametrize(("bits", "type_"), [(8, np.uint8), (16, np.uint16), (32, np.uint32)])
def test_codes_saturate_at_both_ends(bits: int, type_: type) -> None:
    params = replace(PARAMS, lanes=plan_lanes(16, bits=bits))
    values = np.zeros(4096, dtype=np.float32)
    values[:4] = (1e30, -1e30, np.finfo(np.float32).max, -50)
    values[4:8] = (params.step * 1e6, -params.step * 1e6, 0.0, -0.0)
    codes = codes_of(values, params)
    assert codes.dtype == type_
    assert codes.shape == (params.sent,)
    top = params.lanes.levels - 1
    assert codes[:6].tolist() == [top, 0, top, 0, top, 0]
    assert set(codes[6:].tolist()) == {params.lanes.zero}  # zero is exact, whatever the dither


def test_a_value_between_two_codes_becomes_one_of_them() -> None:
    values = np.random.default_rng(0).uniform(-7 * PARAMS.step, 6 * PARAMS.step, 4096).astype(np.float32)
    place = values / np.float32(PARAMS.step) + PARAMS.lanes.zero
    codes = codes_of(values, PARAMS).astype(np.float64)
    assert (np.abs(codes - place) < 1 + 1e-4).all()


def test_what_is_left_is_the_error_and_the_rest_stays() -> None:
    params = replace(PARAMS, keep_one_in=4)
    rows = kept_rows(params)
    values = np.random.default_rng(1).normal(size=4096).astype(np.float32) / 64
    left = values.copy()
    codes = round_rows(left, rows, params, secret=secret(0))
    assert len(codes) == 1024
    sent = np.zeros(4096, dtype=bool)
    sent[rows] = True  # one column
    np.testing.assert_array_equal(left[~sent], values[~sent])
    np.testing.assert_allclose(left[sent], values[sent] - decoded(codes, params), atol=1e-8)


def test_the_dither_is_the_secrets_and_only_its() -> None:
    values = np.random.default_rng(2).normal(size=4096).astype(np.float32) / 64
    first = codes_of(values, PARAMS, 1)
    np.testing.assert_array_equal(first, codes_of(values, PARAMS, 1))
    assert 0.2 < np.mean(first != codes_of(values, PARAMS, 2)) < 0.6
    with pytest.raises(LocalProtocolError, match="a seed of 31 bytes"):
        round_rows(values, kept_rows(PARAMS), PARAMS, secret=bytes(31))


def test_the_pieces_of_a_long_vector_have_their_own_dither() -> None:
    """Rows are rounded in batches of 256 KiB of dither: the stream goes on and does not start again."""
    params = ChainParams(1 << 20, plan_lanes(16), 1.0, bytes(32))
    values = np.full(params.layout.padded, params.step / 2, dtype=np.float32)
    codes = codes_of(values, params).reshape(4, -1)
    assert all(0.45 < np.mean(codes[i] != codes[j]) < 0.55 for i in range(4) for j in range(i))


@settings(max_examples=40)
@given(n=st.integers(1, 16), size=st.integers(1, 600), fill=st.sampled_from(["random", "all 0", "all top"]))
def test_sums_are_exact_in_the_lanes(n: int, size: int, fill: str) -> None:
    params = ChainParams(size, plan_lanes(n), 1.0, bytes(32))
    top = params.lanes.levels - 1
    rng = np.random.default_rng(size * 17 + n)
    low, high = {"random": (0, top), "all 0": (0, 0), "all top": (top, top)}[fill]
    codes = rng.integers(low, high, (n, params.sent), endpoint=True).astype(params.lanes.dtype)
    exact = codes.astype(np.int64).sum(axis=0)
    lane_sum = np.add.reduce(codes, axis=0, dtype=params.lanes.dtype)  # wraps, if it could
    np.testing.assert_array_equal(lane_sum, exact)
    mean = spread_sums(lane_sum, kept_rows(params), params, num_clients=n)
    wanted = (exact - n * params.lanes.zero) / n * params.step
    np.testing.assert_allclose(mean, wanted, rtol=1e-6, atol=1e-12)


def test_a_sum_beyond_what_clients_can_make_counts_as_the_most() -> None:
    rows = kept_rows(PARAMS)
    sums = np.full(4096, 255, dtype=np.uint8)
    most = np.full(4096, 3 * 15, dtype=np.uint8)
    np.testing.assert_array_equal(
        spread_sums(sums, rows, PARAMS, num_clients=3), spread_sums(most, rows, PARAMS, num_clients=3)
    )


@pytest.mark.parametrize("type_", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_wider_sums_mean_the_same(type_: type) -> None:
    sums = np.random.default_rng(3).integers(0, 45, 4096).astype(np.uint8)
    rows = kept_rows(PARAMS)
    np.testing.assert_array_equal(
        spread_sums(sums.astype(type_), rows, PARAMS, num_clients=3), spread_sums(sums, rows, PARAMS, num_clients=3)
    )


def test_bad_sums_are_refused() -> None:
    rows = kept_rows(PARAMS)
    with pytest.raises(RemoteProtocolError, match=r"\(4095,\), want \(4096,\)"):
        spread_sums(np.zeros(4095, np.uint8), rows, PARAMS, num_clients=3)
    with pytest.raises(LocalProtocolError, match="of 0 clients"):
        spread_sums(np.zeros(4096, np.uint8), rows, PARAMS, num_clients=0)
    with pytest.raises(LocalProtocolError, match="int64 sums"):
        spread_sums(np.zeros(4096, np.int64), rows, PARAMS, num_clients=3)
