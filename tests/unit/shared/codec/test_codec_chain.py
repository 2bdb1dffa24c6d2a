"""The whole chain: error, feedback, order, exactness, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.codec.chain import Encoded, decode_sum, encode
from roughfed.codec.clip_schedule import ClipLimits, follow_norms
from roughfed.codec.plan import KEEP_ONE_IN, ChainParams, plan_lanes
from roughfed.errors import LocalProtocolError, RemoteProtocolError

IDEAL = 0.0208  # of a normal variable at 16 levels and 2.4 deviations (tests/unit/shared/codec/test_codec_plan.py)


def seed(*numbers: int) -> bytes:
    return b"".join(n.to_bytes(8, "little") for n in numbers).ljust(32, b"\0")


def layered(size: int, scales: tuple[float, ...], *, of: int = 0) -> np.ndarray:
    values = np.random.default_rng(of).normal(size=size).astype(np.float32)
    return values * np.repeat(np.float32(scales), -(-size // len(scales)))[:size]


def norm(vector: np.ndarray) -> float:
    return float(np.linalg.norm(vector.astype(np.float64)))


def single(encoded: Encoded, params: ChainParams) -> np.ndarray:
    return decode_sum(encoded.codes, 1, params)


@pytest.mark.parametrize("size", [3000, 50_890, 300_001])
@pytest.mark.parametrize("scales", [(1, 1), (1, 100), (100, 1, 10, 0.01)])
def test_the_error_is_near_the_ideal_whatever_the_layers(size: int, scales: tuple[float, ...]) -> None:
    delta = layered(size, scales)
    params = ChainParams(size, plan_lanes(16), norm(delta), seed(1))
    encoded = encode(delta, None, params, secret=seed(2))
    nmse = norm(single(encoded, params) - delta) ** 2 / norm(delta) ** 2
    assert nmse <= 1.2 * IDEAL
    assert nmse >= 0.8 * IDEAL * size / params.layout.padded
    assert encoded.codes.astype(float).std() == pytest.approx(3.1, abs=0.15)  # what sketches count on


@pytest.mark.parametrize("keep_one_in", KEEP_ONE_IN)
def test_the_residual_is_what_was_not_said(keep_one_in: int) -> None:
    delta, old = layered(10_007, (1, 5)), layered(10_007, (0.3,), of=1)
    params = ChainParams(10_007, plan_lanes(10), 1e6, seed(3), keep_one_in)
    encoded = encode(delta, old, params, secret=seed(4))
    assert not encoded.clipped
    assert encoded.norm == pytest.approx(norm(delta + old))
    np.testing.assert_allclose(encoded.residual, delta + old - single(encoded, params), atol=2e-2)


def test_what_the_clip_cut_off_is_not_fed_back() -> None:
    delta = layered(5000, (1, 5))
    params = ChainParams(5000, plan_lanes(16), norm(delta) / 10, seed(5))
    encoded = encode(delta, None, params, secret=seed(6))
    assert encoded.clipped
    assert encoded.norm == pytest.approx(norm(delta))
    assert norm(encoded.residual) < 0.16 * params.clip_norm
    np.testing.assert_allclose(encoded.residual, delta / 10 - single(encoded, params), atol=1e-4)


def test_an_update_is_cut_to_the_part_of_c_that_the_round_says() -> None:
    delta = layered(5000, (1, 5))
    params = ChainParams(5000, plan_lanes(16), norm(delta), seed(5), clip_share=0.5)
    encoded = encode(delta, None, params, secret=seed(6))
    assert encoded.clipped
    assert norm(single(encoded, params)) == pytest.approx(0.5 * norm(delta), rel=0.05)
    assert params.step == ChainParams(5000, plan_lanes(16), norm(delta), seed(5)).step  # the range is that of C
    assert not encode(delta / 2.01, None, params, secret=seed(6)).clipped


def test_the_clip_comes_after_the_residual() -> None:
    delta = layered(5000, (1,))
    params = ChainParams(5000, plan_lanes(16), 1.01 * norm(delta), seed(7))
    assert not encode(delta, None, params, secret=seed(8)).clipped
    encoded = encode(delta, delta, params, secret=seed(8))
    assert encoded.clipped
    assert norm(single(encoded, params)) < 1.1 * params.clip_norm


def test_inputs_are_not_changed_and_the_work_vector_is_used() -> None:
    delta, old = layered(5000, (1,)), layered(5000, (2,), of=1)
    delta.setflags(write=False)
    old.setflags(write=False)  # as a mapped file is
    params = ChainParams(5000, plan_lanes(16), 10.0, seed(9))
    work = np.full(params.layout.padded, np.nan, dtype=np.float32)
    encoded = encode(delta, old, params, secret=seed(10), work=work)
    assert np.shares_memory(encoded.residual, work)
    fresh = encode(delta, old, params, secret=seed(10))
    assert encoded.codes.tobytes() == fresh.codes.tobytes()
    assert encoded.residual.tobytes() == fresh.residual.tobytes()


def test_only_the_secret_moves_the_dither_and_only_the_seed_the_rotation() -> None:
    delta = layered(5000, (1,))
    lanes = plan_lanes(16)
    base = encode(delta, None, ChainParams(5000, lanes, 70.0, seed(1)), secret=seed(2)).codes
    assert 0.2 < np.mean(base != encode(delta, None, ChainParams(5000, lanes, 70.0, seed(1)), secret=seed(3)).codes) < 1
    assert np.mean(base != encode(delta, None, ChainParams(5000, lanes, 70.0, seed(4)), secret=seed(2)).codes) > 0.8


@settings(max_examples=40)
@given(
    size=st.integers(1, 9000),
    n=st.integers(1, 16),
    keep_one_in=st.sampled_from(KEEP_ONE_IN),
    bits=st.sampled_from([8, 16]),
)
def test_the_mean_of_a_group_is_the_mean_of_its_parts(size: int, n: int, keep_one_in: int, bits: int) -> None:
    params = ChainParams(size, plan_lanes(n, bits=bits), 2.0, seed(size), keep_one_in)
    deltas = [layered(size, (1, 3), of=i) / np.float32(np.sqrt(5 * size)) for i in range(n)]
    parts = [encode(delta, None, params, secret=seed(size, i)) for i, delta in enumerate(deltas)]
    assert all(part.codes.dtype == params.lanes.dtype and part.codes.shape == (params.sent,) for part in parts)
    assert all(part.codes.max() < params.lanes.levels for part in parts)
    lanes = np.add.reduce([part.codes for part in parts], axis=0, dtype=params.lanes.dtype)  # mod 2^w, as masks are
    np.testing.assert_array_equal(lanes, np.sum([part.codes.astype(np.int64) for part in parts], axis=0))
    mean = decode_sum(lanes, n, params)
    assert mean.shape == (size,)
    np.testing.assert_allclose(mean, np.mean([single(part, params) for part in parts], axis=0), atol=1e-5)


def test_the_chain_is_unbiased() -> None:
    """Many dithers and rotations of one update: the mean error falls as one over the root of their number."""
    delta = layered(4096, (1, 10))
    runs, errors = 200, np.zeros(4096)
    for i in range(runs):
        params = ChainParams(4096, plan_lanes(16, bits=16), norm(delta), seed(i))
        errors += single(encode(delta, None, params, secret=seed(i, 1)), params) - delta
    one = norm(single(encode(delta, None, params, secret=seed(0)), params) - delta)
    assert norm(errors / runs) < 1.3 * one / np.sqrt(runs)

    clients = 64  # and at 16 levels the mean of a cohort is better than any of its members
    params = ChainParams(4096, plan_lanes(16), norm(delta), seed(0))
    sums = np.sum([encode(delta, None, params, secret=seed(i)).codes.astype(np.uint32) for i in range(clients)], axis=0)
    assert norm(decode_sum(sums.astype(np.uint32), clients, params) - delta) ** 2 / norm(delta) ** 2 < IDEAL / 5


def trained(keep_one_in: int, *, bits: int = 8, feedback: bool = True) -> float:
    """Eight clients pull to their own optima for 400 rounds: how far the model is from the mean of them, relatively."""
    size, clients, limits = 1000, 8, ClipLimits(1e-6, 1e6)
    optima = [layered(size, (1, 10), of=i) + 3 for i in range(clients)]
    goal = np.mean(optima, axis=0)
    model, residuals = np.zeros(size, np.float32), [np.zeros(size, np.float32)] * clients
    lanes, clip = plan_lanes(clients, bits=bits), 2.0 * norm(goal)
    for r in range(400):
        params = ChainParams(size, lanes, clip, seed(r), keep_one_in)
        parts = [
            encode(np.float32(0.04) * (optimum - model), residual, params, secret=seed(r, i + 1))
            for i, (optimum, residual) in enumerate(zip(optima, residuals, strict=True))
        ]
        if feedback:
            residuals = [part.residual for part in parts]
        model += decode_sum(np.add.reduce([part.codes for part in parts], axis=0, dtype=lanes.dtype), clients, params)
        clip = follow_norms(clip, [min(part.norm, clip) for part in parts], limits, keep_one_in=keep_one_in)
    return norm(model - goal) / norm(goal)


def test_feedback_converges_on_a_quadratic() -> None:
    """One coordinate in 16: the clients' own pulls never end, so a norm is 16 steps' worth, and rounding follows it."""
    assert trained(1) < 0.01
    assert trained(16, bits=16) < 0.03
    assert trained(16) < 0.12
    assert trained(16, feedback=False) > 0.3  # a sixteenth of every step: 400 rounds are not enough


def test_an_excluded_client_does_not_grow() -> None:
    """Twenty exclusions: the old residual stays, and the norm that is sent with it."""
    delta = layered(6000, (1, 10))
    clip = 1.2 * norm(delta)
    residual, norms = np.zeros(6000, np.float32), []
    for r in range(23):
        params = ChainParams(6000, plan_lanes(16), clip, seed(r), 2)
        encoded = encode(delta, residual, params, secret=seed(r, 1))
        norms.append(encoded.norm)
        if accepted := r < 3:
            residual = encoded.residual.copy()
        assert accepted or norm(single(encoded, params)) <= 1.2 * clip
    assert len(set(norms[3:])) == 1
    assert norm(residual) <= clip


def test_the_residual_of_an_accepted_client_stays_below_the_clip() -> None:
    delta = layered(6000, (1, 10))
    clip, residual = 0.5 * norm(delta), None
    for r in range(40):
        params = ChainParams(6000, plan_lanes(16), clip, seed(r), 16)
        residual = encode(delta, residual, params, secret=seed(r, 1)).residual
        assert norm(residual) <= clip


def test_nothing_is_nothing() -> None:
    params = ChainParams(700, plan_lanes(16), 1.0, seed(1))
    encoded = encode(np.zeros(700, np.float32), None, params, secret=seed(2))
    assert encoded.norm == 0
    assert not encoded.clipped
    assert set(encoded.codes.tolist()) == {params.lanes.zero}
    assert not single(encoded, params).any()
    assert not encoded.residual.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 17, 699])
def test_updates_that_are_not_finite_are_refused(value: float, place: int) -> None:
    params = ChainParams(700, plan_lanes(16), 1.0, seed(1))
    bad = np.zeros(700, np.float32)
    bad[place] = value
    for delta, residual in ((bad, None), (np.zeros(700, np.float32), bad)):
        with pytest.raises(LocalProtocolError, match="not finite"):
            encode(delta, residual, params, secret=seed(2))


def test_huge_but_finite_updates_are_clipped() -> None:
    params = ChainParams(700, plan_lanes(16), 1.0, seed(1))
    encoded = encode(np.full(700, 1e30, np.float32), None, params, secret=seed(2))
    assert encoded.clipped
    assert norm(single(encoded, params)) < 1.2


def test_other_shapes_are_refused() -> None:
    params = ChainParams(700, plan_lanes(16), 1.0, seed(1))
    good = np.zeros(700, np.float32)
    with pytest.raises(LocalProtocolError, match=r"delta is float64 \(700,\)"):
        encode(good.astype(np.float64), None, params, secret=seed(2))
    with pytest.raises(LocalProtocolError, match=r"residual is float32 \(699,\)"):
        encode(good, good[1:], params, secret=seed(2))
    with pytest.raises(LocalProtocolError, match=r"work is float32 \(700,\), want contiguous float32 \(1024,\)"):
        encode(good, None, params, secret=seed(2), work=good.copy())
    with pytest.raises(RemoteProtocolError, match="sums of shape"):
        decode_sum(np.zeros(700, np.uint8), 1, params)


@pytest.mark.parametrize("weight", [0.25, 0.5, 0.75, 1.0])
def test_a_weight_scales_what_is_sent_and_not_what_is_kept(weight: float) -> None:
    """Sent: w times the clipped update. Kept: what was not said, in the units of an update of weight 1."""
    delta, old = layered(6000, (1, 5)), layered(6000, (0.3,), of=1)
    for clip_norm in (norm(delta) / 2, norm(delta) * 2):
        params = ChainParams(6000, plan_lanes(8), clip_norm, seed(3))
        encoded = encode(delta, old, params, secret=seed(4), weight=weight)
        said = single(encoded, params) / weight
        clipped = (delta + old) * min(1.0, clip_norm / encoded.norm)
        np.testing.assert_allclose(encoded.residual, clipped - said, atol=2e-2 * clip_norm / 100)
        assert encoded.norm == pytest.approx(norm(delta + old))
        assert norm(said * weight) < 1.1 * weight * clip_norm


def test_weights_leave_the_mean_where_it_is_when_all_have_the_same() -> None:
    """And with weight 1 every bit is as without."""
    delta = layered(3000, (1, 3))
    params = ChainParams(3000, plan_lanes(4), norm(delta) * 1.5, seed(3))
    plain, same = (encode(delta, None, params, secret=seed(1), **more) for more in ({}, {"weight": 1.0}))
    np.testing.assert_array_equal(plain.codes, same.codes)
    np.testing.assert_array_equal(plain.residual, same.residual)
    total = plain.codes.astype(np.uint32) * 3
    np.testing.assert_array_equal(decode_sum(total, 3, params), decode_sum(total, 3, params, weight=3.0))
    half = encode(delta, None, params, secret=seed(1), weight=0.5).codes.astype(np.uint32) * 4
    assert norm(decode_sum(half, 4, params, weight=2.0) - delta) < 0.15 * norm(delta)


def test_error_feedback_says_everything_in_the_end_at_any_weight() -> None:
    delta = layered(2000, (1, 2))
    params = ChainParams(2000, plan_lanes(16), norm(delta) * 1.5, seed(3))
    residual, said = None, np.zeros_like(delta)
    for at in range(40):
        encoded = encode(delta, residual, params, secret=seed(at), weight=0.25)
        residual, said = encoded.residual, said + single(encoded, params) / 0.25
    assert norm(said / 40 - delta) < 0.05 * norm(delta)


@pytest.mark.parametrize("weight", [0.0, -0.5, 1.25, float("nan")])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    params = ChainParams(64, plan_lanes(4), 1.0, seed(1))
    with pytest.raises(LocalProtocolError):
        encode(np.zeros(64, np.float32), None, params, secret=seed(1), weight=weight)
    with pytest.raises(LocalProtocolError):
        decode_sum(np.zeros(params.sent, np.uint8), 1, params, weight=weight)
