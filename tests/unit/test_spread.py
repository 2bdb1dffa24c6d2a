"""How even a model is over the clients: exact figures, and those of buckets within half a bucket of them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.secagg.statistics import ACCURACY_BUCKETS, accuracy_bucket
from roughfed.server.fairness.spread import QUANTILES, of_histogram, of_values

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
