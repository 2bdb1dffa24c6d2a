"""Laws of the partitioners, over their table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.data.apportion import apportion, stratified_holdout
from roughfed.data.partition import PARTITIONERS, dirichlet, quantity_skew, shards
from roughfed.errors import ConfigError
from roughfed.rng import generator


def some_labels(n: int, num_classes: int, seed: int) -> np.ndarray:
    return generator(seed, "labels").integers(0, num_classes, size=n)


@pytest.mark.parametrize("name", PARTITIONERS)
@given(n=st.integers(60, 300), clients=st.integers(1, 15), classes=st.integers(1, 12), seed=st.integers(0, 2**40))
def test_every_partition_is_disjoint_covers_all_and_repeats(
    name: str, n: int, clients: int, classes: int, seed: int
) -> None:
    labels = some_labels(n, classes, seed)
    split = PARTITIONERS[name].split

    parts = split(labels, clients, generator(seed))
    again = split(labels, clients, generator(seed))

    assert len(parts) == clients
    assert all(part.dtype == np.int64 and len(part) >= 2 for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    for part, same in zip(parts, again, strict=True):
        np.testing.assert_array_equal(part, same)
        np.testing.assert_array_equal(part, np.sort(part))


@pytest.mark.parametrize("name", PARTITIONERS)
def test_another_seed_is_another_partition(name: str) -> None:
    labels = some_labels(300, 5, 0)
    one, other = (PARTITIONERS[name].split(labels, 4, generator(seed)) for seed in (1, 2))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", PARTITIONERS)
def test_more_clients_than_examples_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot"):
        PARTITIONERS[name].split(some_labels(20, 5, 0), 11, generator(0))


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", [name for name, row in PARTITIONERS.items() if row.option == "alpha"])
def test_a_skew_that_is_no_positive_number_is_refused(name: str, alpha: float) -> None:
    with pytest.raises(ConfigError, match="positive"):
        PARTITIONERS[name].split(some_labels(50, 5, 0), 2, generator(0), alpha=alpha)


def test_dirichlet_with_large_alpha_is_near_uniform_and_with_small_alpha_is_not() -> None:
    labels = np.repeat(np.arange(10), 200)

    def histogram(alpha: float) -> np.ndarray:
        parts = dirichlet(labels, 5, generator(3), alpha=alpha)
        return np.stack([np.bincount(labels[p], minlength=10) for p in parts])

    assert np.abs(histogram(1e6) - 40).max() <= 1
    assert histogram(0.1).max() > 150


@given(alpha=st.sampled_from([0.001, 0.01, 0.1]), seed=st.integers(0, 1000))
def test_dirichlet_keeps_the_minimum_under_extreme_skew(alpha: float, seed: int) -> None:
    parts = dirichlet(some_labels(100, 3, seed), 20, generator(seed), alpha=alpha, min_examples=5)
    assert [len(p) for p in parts] == [5] * 20  # 20 * 5 = 100: there is only one way


def test_shards_give_each_client_few_classes() -> None:
    labels = generator(1).permutation(np.repeat(np.arange(10), 100))
    parts = shards(labels, 10, generator(0), shards_per_client=2)
    assert all(len(np.unique(labels[p])) <= 2 for p in parts)
    assert {len(p) for p in parts} == {100}


def test_quantity_skew_keeps_the_class_mix_and_skews_the_sizes() -> None:
    labels = np.tile(np.arange(2), 5000)
    parts = quantity_skew(labels, 5, generator(1), alpha=0.5)
    sizes = [len(p) for p in parts]
    assert max(sizes) > 3 * min(sizes)
    assert all(abs(labels[p].mean() - 0.5) < 0.1 for p in parts if len(p) > 500)


@given(total=st.integers(0, 10_000), shares=st.lists(st.floats(0.001, 1.0), min_size=1, max_size=20))
def test_apportioned_numbers_add_up_and_stay_within_one(total: int, shares: list[float]) -> None:
    weights = np.array(shares)
    counts = apportion(total, weights)
    assert counts.sum() == total
    assert np.abs(counts - total * weights / weights.sum()).max() < 1 + 1e-6


@given(n=st.integers(2, 200), classes=st.integers(1, 10), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_holdout_takes_what_was_asked_and_leaves_something(n: int, classes: int, fraction: float, seed: int) -> None:
    labels = some_labels(n, classes, seed)
    kept, held = stratified_holdout(labels, fraction, generator(seed))
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(n))
    assert len(held) == min(max(round(fraction * n), 1), n - 1)


def test_holdout_is_stratified_and_keeps_single_examples() -> None:
    labels = np.array([0] * 50 + [1] * 30 + [2] * 10 + [3])
    kept, held = stratified_holdout(labels, 0.2, generator(0))
    assert np.bincount(labels[held], minlength=4).tolist() == [10, 6, 2, 0]
    assert 3 in labels[kept]


@pytest.mark.parametrize(("n", "fraction"), [(1, 0.5), (10, 0.0), (10, 1.0), (10, float("nan"))])
def test_holdout_refuses_what_cannot_be_cut(n: int, fraction: float) -> None:
    with pytest.raises(ConfigError):
        stratified_holdout(np.zeros(n, dtype=np.int64), fraction, generator(0))
