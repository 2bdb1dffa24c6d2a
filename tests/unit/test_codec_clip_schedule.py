"""The public clip norm follows what was seen, slowly."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.codec.clip_schedule import MAX_STEP, ClipLimits, check_step, follow_clip_bits, follow_norms
from roughfed.errors import ConfigError, RemoteProtocolError

LIMITS = ClipLimits(0.01, 100.0)
clips = st.floats(0.01, 100.0)


@given(clip=clips, norms=st.lists(st.floats(), max_size=20))
def test_no_norms_make_a_leap(clip: float, norms: list[float]) -> None:
    check_step(clip, follow_norms(clip, norms, LIMITS), LIMITS)


@given(clip=clips, clipped=st.integers(-(2**40), 2**40), n=st.integers(0, 1000))
def test_no_bits_make_a_leap(clip: float, clipped: int, n: int) -> None:
    check_step(clip, follow_clip_bits(clip, clipped, n, LIMITS), LIMITS)


@pytest.mark.parametrize("start", [0.02, 1.0, 90.0])
def test_norms_settle_it_where_one_in_five_would_be_near_it(start: float) -> None:
    norms = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 9.0]
    clip = start
    for _ in range(100):
        clip = follow_norms(clip, [min(norm, clip) for norm in norms], LIMITS)  # a clipped norm is all that is seen
    assert clip == pytest.approx(1.25 * 1.7)


@pytest.mark.parametrize("start", [0.02, 1.0, 90.0])
def test_bits_settle_it_where_one_in_five_is_clipped(start: float) -> None:
    norms = [0.5 + i / 100 for i in range(100)]
    clip = start
    for _ in range(400):
        clip = follow_clip_bits(clip, sum(norm > clip for norm in norms), len(norms), LIMITS)
    assert clip == pytest.approx(1.3, abs=0.03)


def test_the_few_do_not_rule() -> None:
    honest = [1.0] * 8
    assert follow_norms(1.25, [*honest, 50.0, 60.0], LIMITS) == pytest.approx(1.25)
    assert follow_norms(1.25, [*honest, 0.0, 0.0], LIMITS) == pytest.approx(1.25)


def test_it_stays_within_the_limits() -> None:
    assert follow_norms(100.0, [1e9], LIMITS) == 100.0
    assert follow_norms(0.01, [0.0], LIMITS) == 0.01
    assert follow_clip_bits(100.0, 5, 5, LIMITS) == 100.0
    assert follow_norms(3.0, [], LIMITS) == 3.0
    assert follow_clip_bits(3.0, 0, 0, LIMITS) == 3.0


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (1.0, math.inf)])
def test_limits_must_make_sense(low: float, high: float) -> None:
    with pytest.raises(ConfigError) as caught:
        ClipLimits(low, high)
    assert caught.value.key == "privacy.clip_norm"


@pytest.mark.parametrize("clip", [1.2, 0.8, math.nan, 1e9])
def test_a_client_refuses_a_leap(clip: float) -> None:
    check_step(1.0, MAX_STEP, LIMITS)
    with pytest.raises(RemoteProtocolError):
        check_step(1.0, clip, LIMITS)


def test_a_client_refuses_what_is_outside_the_limits() -> None:
    with pytest.raises(RemoteProtocolError):
        check_step(100.0, 101.0, LIMITS)
