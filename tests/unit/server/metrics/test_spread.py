"""How even a model is over the clients: exact figures, and those of buckets within half a bucket of them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.secagg.statistics import ACCURACY_BUCKETS, accuracy_bucket
from roughfed.server.metrics.spread import QUANTILES, gap, jain, of_histogram, of_values

shares = st.lists(st.floats(0, 1), min_size=1, max_size=45)


@given(values=shares)
def test_figures_of_buckets_are_within_half_a_bucket_of_the_exact_ones(values: list[float]) -> None:
    exact = of_values(values)
    counts = np.bincount([accuracy_bucket(v) for v in values], minlength=ACCURACY_BUCKETS).tolist()
    found = of_histogram(counts)
    assert found["within"] == pytest.approx(0.5 / ACCURACY_BUCKETS)
    assert (found["clients"], found["bins"]) == (len(values), exact["bins"]) == (len(values), counts)
    for name in ("mean", "std", "worst10", "best10"):
        assert abs(found[name] - exact[name]) <= found["within"] + 1e-9, name
    for mine, theirs in zip(found["quantiles"], exact["quantiles"], strict=True):
        assert abs(mine - theirs) <= found["within"] + 1e-9


@given(values=shares)
def test_figures_are_in_order(values: list[float]) -> None:
    found = of_values(values)
    order = [found["worst10"], found["mean"], found["best10"]]
    assert all(a <= b + 1e-9 for a, b in pairwise(order))
    assert found["quantiles"] == sorted(found["quantiles"])
    assert 0 <= found["std"] <= 0.5 + 1e-9
    assert found["mean"] == pytest.approx(float(np.mean(values)))
    assert found["std"] == pytest.approx(float(np.std(values)), abs=1e-9)


def test_the_worst_tenth_counts_the_client_at_its_end_in_part() -> None:
    values = [at / 100 for at in range(25)]
    assert of_values(values)["worst10"] == pytest.approx((0.00 + 0.01 + 0.5 * 0.02) / 2.5)
    assert of_values(values)["best10"] == pytest.approx((0.24 + 0.23 + 0.5 * 0.22) / 2.5)
    assert of_values([0.5, 0.9])["worst10"] == 0.5
    assert of_values([at / 10 for at in range(10)])["quantiles"] == [0.0, 0.2, 0.4, 0.7, 0.8]
    assert len(QUANTILES) == 5


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf]])
def test_without_numbers_there_are_no_figures(values: list[float]) -> None:
    assert of_values(values) == {}


@pytest.mark.parametrize("counts", [[], [0] * 20])
def test_nobody_in_the_buckets_has_no_figures(counts: list[int]) -> None:
    assert of_histogram(counts) == {}


@given(values=shares)
def test_jains_index_is_its_formula_and_gap_the_distance_of_the_tails(values: list[float]) -> None:
    found = of_values(values)
    squares = sum(v * v for v in values)
    index = jain(found)
    if found["mean"] < 1e-6:
        return  # beside nothing at all, rounding is everything
    assert index == pytest.approx(sum(values) ** 2 / (len(values) * squares), rel=1e-6)
    assert 1 / len(values) - 1e-9 <= index <= 1 + 1e-9
    distance = gap(found)
    assert distance is not None
    assert -1e-9 <= distance <= 1
    assert distance == pytest.approx(found["best10"] - found["worst10"])


def test_jains_index_knows_equals_and_the_only_one() -> None:
    assert jain(of_values([0.7] * 9)) == pytest.approx(1)
    assert jain(of_values([0.5, 0, 0, 0])) == pytest.approx(0.25)  # 1/n
    assert jain(of_values([0.0, 0.0])) is None
    assert (jain({}), gap({})) == (None, None)
    assert jain(of_histogram([0, 4, 0])) == pytest.approx(1)
    assert gap(of_histogram([5, 0, 5])) == pytest.approx(2 / 3)
