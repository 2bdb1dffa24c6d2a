"""The public clip norm follows what was seen, slowly."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.codec.clip_schedule import (
    CLIP_SHARE,
    FIRST_ROUNDS,
    FIRST_STEP,
    MAX_FALL,
    MAX_STEP,
    ClipLimits,
    check_step,
    follow_histogram,
    follow_norms,
    max_step,
)
from roughfed.errors import ConfigError, RemoteProtocolError

LIMITS = ClipLimits(0.01, 100.0)
clips = st.floats(0.01, 100.0)


EDGES = [2.0**i for i in range(-8, 9)]
rounds = st.integers(2, 50)


@given(clip=clips, norms=st.lists(st.floats(), max_size=20), number=rounds)
def test_no_norms_make_a_leap(clip: float, norms: list[float], number: int) -> None:
    following = follow_norms(clip, norms, LIMITS, step=max_step(number))
    check_step((number - 1, clip), (number, following))


@given(clip=clips, counts=st.lists(st.integers(0, 2**40), min_size=17, max_size=17), number=rounds)
def test_no_histogram_makes_a_leap(clip: float, counts: list[int], number: int) -> None:
    following = follow_histogram(clip, counts, EDGES, LIMITS, step=max_step(number))
    check_step((number - 1, clip), (number, following))


@pytest.mark.parametrize("start", [0.02, 1.0, 90.0])
@pytest.mark.parametrize(
    ("norms", "settled"),
    [
        ([0.4, 0.4, 0.4, 0.4, 0.4, 1.5, 1.6, 1.7, 1.8, 9.0], 2.2 * 0.4),  # half of them are cut, to 1.1 medians
        ([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 9.0], 2.2 * 1.4),  # what is cut to it sticks out
    ],
)
def test_norms_settle_it_by_their_median(start: float, norms: list[float], settled: float) -> None:
    clip = start
    for _ in range(100):
        clip = follow_norms(clip, [min(norm, CLIP_SHARE * clip) for norm in norms], LIMITS)  # what is seen is cut
    assert clip == pytest.approx(settled)


@pytest.mark.parametrize("start", [0.02, 1.0, 90.0])
def test_a_histogram_settles_it_at_the_edge_above_four_in_five(start: float) -> None:
    norms = [0.5 + i / 100 for i in range(100)]
    clip = start
    for _ in range(400):
        counts = [sum(low < norm <= edge for norm in norms) for low, edge in zip([0.0, *EDGES], EDGES, strict=False)]
        clip = follow_histogram(clip, counts, EDGES, LIMITS)
    assert clip == 2.0


def test_the_few_do_not_rule() -> None:
    honest = [1.0] * 8
    assert follow_norms(2.2, [*honest, 50.0, 60.0], LIMITS) == pytest.approx(2.2)
    assert follow_norms(2.2, [*honest, 0.0, 0.0], LIMITS) == pytest.approx(2.2)


def test_it_sticks_out_only_where_everything_is_sent() -> None:
    norms = [1.0] * 10
    assert follow_norms(2.2, norms, LIMITS, step=4.0) == pytest.approx(2.2)
    assert follow_norms(2.2, norms, LIMITS, step=4.0, keep_one_in=4) == pytest.approx(1.25)


def test_it_stays_within_the_limits() -> None:
    assert follow_norms(100.0, [1e9], LIMITS) == 100.0
    assert follow_norms(0.01, [0.0], LIMITS) == 0.01
    assert follow_histogram(100.0, [0, 5], [1.0, 1e9], LIMITS) == 100.0
    assert follow_norms(3.0, [], LIMITS) == 3.0
    assert follow_histogram(3.0, [0, 0], [1.0, 2.0], LIMITS) == 3.0
    assert follow_histogram(3.0, [], [], LIMITS) == 3.0
    assert LIMITS.start(1e9) == 100.0


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (1.0, math.inf)])
def test_limits_must_make_sense(low: float, high: float) -> None:
    with pytest.raises(ConfigError) as caught:
        ClipLimits(low, high)
    assert caught.value.key == "privacy.clip_norm"


@pytest.mark.parametrize("clip", [1.2, 0.7, math.nan, 1e9, 0.0, -1.0])
def test_a_client_refuses_a_leap(clip: float) -> None:
    check_step((10, 1.0), (11, MAX_STEP))
    check_step((10, 1.0), (11, 1 / MAX_FALL))
    with pytest.raises(RemoteProtocolError):
        check_step((10, 1.0), (11, clip))


def test_rounds_that_a_client_missed_add_up() -> None:
    check_step((10, 1.0), (13, MAX_STEP**3))
    with pytest.raises(RemoteProtocolError):
        check_step((10, 1.0), (13, 1.01 * MAX_STEP**3))


def test_the_first_rounds_may_look_for_the_scale() -> None:
    check_step((1, 10.0), (FIRST_ROUNDS, 10.0 / FIRST_STEP ** (FIRST_ROUNDS - 1)))
    with pytest.raises(RemoteProtocolError):
        check_step((FIRST_ROUNDS, 10.0), (FIRST_ROUNDS + 1, 10.0 / FIRST_STEP))
