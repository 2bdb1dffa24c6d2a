"""Real numbers in sums of integers: what comes out of the lanes of many clients is the sum of what they gave."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.codec.plan import plan_lanes
from roughfed.errors import LocalProtocolError
from roughfed.secagg import statistics
from roughfed.secagg.fixed_point import bound_of, fit_features, from_fixed, symmetric, to_fixed, upper_triangle
from roughfed.secagg.statistics import KINDS, MAX_VALUES, decode_sum, encode, read_statistics

REAL = [name for name, kind in KINDS.items() if kind.unit]


@settings(max_examples=30)
@given(name=st.sampled_from(REAL), clients=st.integers(4, 40), silent=st.integers(0, 3), seed=st.integers(0, 2**32 - 1))
def test_a_sum_of_lanes_is_the_sum_of_the_numbers(name: str, clients: int, silent: int, seed: int) -> None:
    """Through digits in the lanes that the planner gives a group of that size; some clients give nothing."""
    rng, size = np.random.default_rng(seed), 7
    given_numbers = rng.normal(size=(clients, size)) * bound_of(name) * rng.choice([1e-3, 0.3, 2.0])
    lanes = plan_lanes(clients + silent)
    asked = read_statistics([f"{name}:{size}", "trained:1"], lanes.levels)
    total = np.zeros(statistics.tail_lanes(asked), dtype=lanes.dtype)
    for numbers in given_numbers:
        values = {name: to_fixed(name, numbers), "trained": (1,)}
        total += encode(values, asked, levels=lanes.levels, dtype=lanes.dtype)
    for _ in range(silent):
        total += encode({}, asked, levels=lanes.levels, dtype=lanes.dtype)
    sums, cut = decode_sum(total, clients + silent, asked, levels=lanes.levels)
    assert (sums["trained"], cut) == ((clients,), 0)
    found = from_fixed(name, sums[name], clients)
    wanted = np.clip(given_numbers, -bound_of(name), bound_of(name)).sum(axis=0)
    np.testing.assert_allclose(found, wanted, atol=0.51 * clients * KINDS[name].unit)


@pytest.mark.parametrize("levels", [4, 16, 64, 65536])
def test_digits_of_every_kind_fit_beside_one_another(levels: int) -> None:
    """The largest value of each kind survives its digits, whatever the lanes."""
    for name, kind in KINDS.items():
        (asked,) = read_statistics([f"{name}:1"], levels)
        lane = np.dtype("<u4") if levels > 256 else np.dtype("<u1")
        tail = encode({name: (kind.largest,)}, [asked], levels=levels, dtype=lane)
        assert int(tail.max()) < levels
        assert decode_sum(tail, 1, [asked], levels=levels)[0][name] == (kind.largest,)


def test_counts_and_odd_numbers_are_refused() -> None:
    for name, numbers in (("transition", [1.0]), ("feature-sum", [np.nan]), ("feature-sum", [np.inf])):
        with pytest.raises(LocalProtocolError):
            to_fixed(name, np.array(numbers))
    with pytest.raises(LocalProtocolError):
        from_fixed("transition", (1,), 1)
    with pytest.raises(LocalProtocolError):
        symmetric(np.zeros(4), 2)


@pytest.mark.parametrize("examples", [50, 200_000_000])
def test_means_and_covariance_survive_the_scale(examples: int) -> None:
    """A client with more than fits counts as if it had fewer; what follows from its sums stays."""
    rng, classes, width = np.random.default_rng(1), 3, 5
    features = rng.normal(size=(60, width)) + 2
    labels = rng.integers(0, classes, 60)
    factor = examples / 60
    count = np.bincount(labels, minlength=classes) * factor
    sums = np.stack([features[labels == c].sum(axis=0) for c in range(classes)]) * factor
    outer = features.T @ features * factor
    values = fit_features(count, sums, upper_triangle(outer))
    n = np.array(values["feature-count"])
    mean = from_fixed("feature-sum", values["feature-sum"], 1).reshape(classes, width) / n[:, None]
    second = symmetric(from_fixed("feature-outer", values["feature-outer"], 1), width) / n.sum()
    np.testing.assert_allclose(mean, sums / count[:, None], rtol=0.03)
    np.testing.assert_allclose(second, outer / count.sum(), rtol=0.03)
    assert all(max(values[name]) <= KINDS[name].largest for name in values)


def test_the_sums_of_a_usual_model_fit() -> None:
    texts = ("feature-count:10", "feature-sum:1280", "feature-outer:8256", "trained:1", "head-gradient:12900")
    assert sum(s.length for s in read_statistics(texts, 16)) <= MAX_VALUES


def test_losses_fall_into_buckets_that_grow() -> None:
    for buckets in (statistics.LOSS_BUCKETS, statistics.CLASS_LOSS_BUCKETS):
        edges = [statistics.loss_edge(b, buckets) for b in range(buckets)]
        assert edges == sorted(edges)
        for bucket, edge in enumerate(edges[:-1]):
            assert statistics.loss_bucket(edge * 0.999, buckets) == bucket
            assert statistics.loss_bucket(edge * 1.001, buckets) == bucket + 1
        assert statistics.loss_bucket(float("inf"), buckets) == buckets - 1
        assert statistics.loss_bucket(float("nan"), buckets) == 0
