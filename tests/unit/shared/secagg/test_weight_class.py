"""Tables of weight classes: what a client takes, what it refuses, and where it finds itself in them."""

from __future__ import annotations

import math
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import RemoteProtocolError
from roughfed.secagg.weight_class import (
    LARGEST,
    LOSS_POINTS,
    Table,
    drawn,
    expected,
    loss_at,
    loss_point,
    median_loss,
    read_table,
    write_table,
)

ROW = tuple(float(f"{4 ** (at / 16 - 2):.5g}") for at in range(LOSS_POINTS))
TABLE = Table(4 / 3, {3: ROW, 5: (*ROW[1:], ROW[-1])})


def test_a_table_comes_back_as_it_was() -> None:
    assert read_table(write_table(TABLE)) == TABLE
    assert read_table((2.0,)) == Table(2.0, {})


@pytest.mark.parametrize(
    "numbers",
    [
        (),
        (0.9,),
        (4.1,),
        (2.0, 1.0),
        (2.0, 3.0, *ROW, 1.0),
        (2.0, 3.5, *ROW),
        (2.0, 3.0, *reversed(ROW)),
        (2.0, 3.0, *ROW[:-1], LARGEST * 2),
        (2.0, 3.0, 0.0, *ROW[1:]),
        (2.0, *(number for at in range(17) for number in (float(at), *ROW))),
    ],
)
def test_a_table_that_is_none_is_refused(numbers: tuple[float, ...]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_table(numbers)
    assert caught.value.reason == "facts"


def test_a_client_goes_by_the_newest_round_that_both_know() -> None:
    low, high = loss_at(0), loss_at(LOSS_POINTS - 1)
    assert expected(TABLE, {}) == TABLE.usual
    assert expected(TABLE, {4: high, 6: high}) == TABLE.usual
    assert expected(TABLE, {3: high, 4: low}) == 4.0
    assert expected(TABLE, {3: high, 5: low}) == 1.0
    assert [expected(TABLE, {3: loss}) for loss in (0.0, -5.0, math.inf, 1e300, math.nan)] == [1, 1, 4, 4, 4]


@given(loss=st.floats(2.0**-15.7, 2.0**15.7))
def test_between_two_points_lines_are_straight_on_logarithmic_scales(loss: float) -> None:
    places = [math.log2(loss_at(at)) for at in range(LOSS_POINTS)]
    wanted = math.exp(np.interp(math.log2(loss), places, np.log(ROW)))
    assert expected(TABLE, {3: loss}) == pytest.approx(min(max(wanted, 1.0), 4.0), rel=1e-6)


@given(loss=st.floats(allow_nan=True))
def test_every_loss_has_a_bucket_that_it_lies_in(loss: float) -> None:
    point = loss_point(loss)
    assert 0 <= point < LOSS_POINTS
    if 0 < point < LOSS_POINTS - 1:
        assert loss_at(point) / 2**0.25 * (1 - 1e-9) <= loss <= loss_at(point) * 2**0.25 * (1 + 1e-9)
    assert point == 0 or math.isnan(loss) or loss >= loss_at(0)


@given(losses=st.lists(st.floats(0.001, 1000), min_size=1, max_size=15))
def test_the_median_of_a_histogram_is_in_the_bucket_of_the_median(losses: list[float]) -> None:
    counts = np.bincount([loss_point(loss) for loss in losses], minlength=LOSS_POINTS).tolist()
    found, half = median_loss(counts), 2**0.5 * (1 + 1e-9)
    assert found is not None
    low, high = sorted(losses)[(len(losses) - 1) // 2], sorted(losses)[len(losses) // 2]
    assert low / half <= found <= high * half
    assert median(losses) == pytest.approx((low + high) / 2)


def test_nobody_has_no_median() -> None:
    assert median_loss([0] * LOSS_POINTS) is None
    assert median_loss([]) is None


def test_one_liar_does_not_move_the_median_out_of_the_others() -> None:
    counts = [0] * LOSS_POINTS
    counts[loss_point(1.0)], counts[LOSS_POINTS - 1] = 7, 6
    found = median_loss(counts)
    assert found is not None
    assert loss_point(found) == loss_point(1.0)


@pytest.mark.parametrize(("quarters", "classes"), [(1.0, {1}), (4.0, {4}), (2.0, {2}), (1.5, {1, 2}), (3.99, {3, 4})])
def test_a_draw_is_one_of_the_classes_around(quarters: float, classes: set[int]) -> None:
    rng = np.random.default_rng(3)
    secrets = [bytes(32), bytes([255] * 32), *(rng.bytes(32) for _ in range(50))]
    assert {drawn(quarters, secret) for secret in secrets} == classes
