"""Rough data come out as rough as asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.data.rough import asymmetric_noise, class_incremental, instance_noise, long_tail, symmetric_noise
from roughfed.errors import ConfigError
from roughfed.rng import generator

BALANCED = np.repeat(np.arange(10), 6000)
RATES = st.floats(0.0, 1.0)


def test_long_tail_has_the_published_size_and_ratio() -> None:
    kept = long_tail(BALANCED, 100, generator(0), order=range(9, -1, -1))
    count = np.bincount(BALANCED[kept])
    assert len(kept) == 14_886  # the figure of the published protocol for 10 x 6,000, IF 100
    assert (count[9], count[0]) == (6000, 60)
    assert np.all(np.diff(count) > 0)
    np.testing.assert_allclose(count[1:] / count[:-1], 100 ** (1 / 9), rtol=0.02)


def test_long_tail_keeps_the_ratio_when_the_classes_were_unequal() -> None:
    labels = np.repeat(np.arange(3), [500, 1000, 20])
    count = np.bincount(labels[long_tail(labels, 10, generator(0))])
    assert count.tolist() == [200, 63, 20]


@given(seed=st.integers(0, 99))
def test_no_imbalance_keeps_a_balanced_set_whole_and_no_class_vanishes(seed: int) -> None:
    labels = np.repeat(np.arange(4), 7)
    np.testing.assert_array_equal(long_tail(labels, 1, generator(seed)), np.arange(28))
    assert np.bincount(labels[long_tail(labels, 1e6, generator(seed))]).tolist() == [7, 1, 1, 1]


def test_one_class_has_no_tail() -> None:
    assert len(long_tail(np.zeros(5, dtype=np.int64), 100, generator(0))) == 5


@given(rate=RATES, seed=st.integers(0, 99), classes=st.integers(2, 6))
def test_noise_flips_exactly_as_many_as_asked_and_repeats(rate: float, seed: int, classes: int) -> None:
    labels = generator(seed, "y").integers(0, classes, size=80)
    x = generator(seed, "x").normal(size=(80, 1, 3, 3)).astype(np.float32)
    before = labels.copy()

    def makers() -> list[np.ndarray]:
        return [
            symmetric_noise(labels, rate, classes, generator(seed)),
            asymmetric_noise(labels, rate, classes, generator(seed)),
            instance_noise(x, labels, rate, classes, generator(seed)),
        ]

    for noisy, again in zip(makers(), makers(), strict=True):
        assert (noisy != labels).sum() == round(rate * 80)
        assert 0 <= noisy.min() <= noisy.max() < classes
        np.testing.assert_array_equal(noisy, again)
    np.testing.assert_array_equal(labels, before)


def test_symmetric_noise_spreads_over_all_other_classes() -> None:
    noisy = symmetric_noise(BALANCED, 0.4, 10, generator(1))
    confusion = np.zeros((10, 10))
    np.add.at(confusion, (BALANCED, noisy), 1 / 6000)
    np.testing.assert_allclose(confusion, 0.6 * np.eye(10) + 0.4 / 9 * (1 - np.eye(10)), atol=0.03)


def test_asymmetric_noise_follows_its_map() -> None:
    noisy = asymmetric_noise(BALANCED, 0.2, 10, generator(1), mapping={7: 1, 2: 7})
    changed = noisy != BALANCED
    assert changed.mean() == 0.2  # all of both classes
    assert {(int(a), int(b)) for a, b in zip(BALANCED[changed], noisy[changed], strict=True)} == {(7, 1), (2, 7)}
    with pytest.raises(ConfigError, match="the map covers 12000"):
        asymmetric_noise(BALANCED, 0.3, 10, generator(1), mapping={7: 1, 2: 7})


@pytest.mark.parametrize("mapping", [{1: 1}, {0: 10}, {-1: 2}])
def test_a_map_that_flips_nothing_or_leaves_the_classes_is_refused(mapping: dict[int, int]) -> None:
    with pytest.raises(ConfigError, match="is not a flip"):
        asymmetric_noise(BALANCED, 0.1, 10, generator(0), mapping=mapping)


def test_instance_noise_depends_on_the_features() -> None:
    """Two clusters of one class: the flips gather in one of them, and each goes mostly to a class of its own."""
    rng = generator(5)
    labels = np.zeros(4000, dtype=np.int64)
    cluster = np.repeat([0, 1], 2000)
    x = (np.where(cluster[:, None] == 0, -1.0, 1.0) + 0.05 * rng.normal(size=(4000, 6))).astype(np.float32)
    noisy = instance_noise(x, labels, 0.3, 5, generator(2))
    rate = [float((noisy[cluster == c] != 0).mean()) for c in (0, 1)]
    assert abs(rate[0] - rate[1]) > 0.1
    favourite = [np.bincount(noisy[(cluster == c) & (noisy != 0)], minlength=5) for c in (0, 1)]
    assert all(f.max() > 0.5 * f.sum() for f in favourite)
    assert favourite[0].argmax() != favourite[1].argmax()


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rates_outside_0_to_1_are_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="noise rate"):
        symmetric_noise(BALANCED, rate, 10, generator(0))


def test_noise_needs_two_classes() -> None:
    with pytest.raises(ConfigError, match="two classes"):
        symmetric_noise(np.zeros(4, dtype=np.int64), 0.5, 1, generator(0))


@given(tasks=st.integers(1, 7), seed=st.integers(0, 99))
def test_tasks_are_disjoint_cover_all_and_share_no_class(tasks: int, seed: int) -> None:
    labels = np.concatenate([np.arange(7), generator(seed).integers(0, 7, size=60)])
    order = generator(seed, "order").permutation(7).tolist()
    stream = class_incremental(labels, tasks, order)
    np.testing.assert_array_equal(np.sort(np.concatenate(stream)), np.arange(67))
    classes = [set(labels[task].tolist()) for task in stream]
    assert sum(map(len, classes)) == len(set().union(*classes)) == 7
    assert order[0] in classes[0]


@pytest.mark.parametrize("tasks", [0, 11])
def test_a_task_without_classes_is_refused(tasks: int) -> None:
    with pytest.raises(ConfigError, match="cannot make"):
        class_incremental(BALANCED, tasks)


@pytest.mark.parametrize("order", [[0, 1], [0] * 10, list(range(1, 11))])
def test_an_order_that_misses_classes_is_refused(order: list[int]) -> None:
    with pytest.raises(ConfigError, match="not an order"):
        class_incremental(BALANCED, 2, order)
    with pytest.raises(ConfigError, match="not an order"):
        long_tail(BALANCED, 10, generator(0), order)
    with pytest.raises(ConfigError, match="imbalance"):
        long_tail(BALANCED, 0.5, generator(0))
