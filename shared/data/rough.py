"""Makers of rough data: long tails, wrong labels, classes that arrive over time.

N examples, C classes, F features. All are seeded through `rng` and change nothing in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from roughfed.data.dataset import Dataset, Indices, Labels
from roughfed.errors import ConfigError
from roughfed.registry import look_up

NOISE_KINDS = ("symmetric", "asymmetric", "instance")

RATE_SPREAD = 0.1  # standard deviation of the flip rates over examples, as in Xia et al.


def long_tail(
    labels: Labels, imbalance_factor: float, rng: np.random.Generator, order: Sequence[int] | None = None
) -> Indices:
    """An exponential long tail (Cui et al., CVPR 2019, section 5.1): n_c = n_max * IF^(-rank/(C-1)), rounded down.

    Args:
        labels: int64 [N].
        imbalance_factor: IF, head size over tail size, at least 1.
        rng: chooses which examples of a class stay.
        order: the classes, head first; None: 0, 1, ..., C-1. On Fashion-MNIST the natural order puts easy classes in
            the tail and hides the problem; reverse it.

    Returns:
        sorted int64 indices of the examples that stay. n_max is the largest that every class can serve, so the
        ratios hold even when the classes were not balanced before; a class keeps at least one example.

    Raises:
        ConfigError: IF < 1, or `order` is not a permutation of the classes.
    """
    if not imbalance_factor >= 1:
        raise ConfigError(f"imbalance factor {imbalance_factor} is below 1", key="data.imbalance")
    available = np.bincount(labels)  # [C]
    ranked = _class_order(order, len(available))
    falloff = imbalance_factor ** (-np.arange(len(ranked)) / max(len(ranked) - 1, 1))  # [C], by rank
    n_max = (available[ranked] / falloff).min()
    counts = np.maximum(np.floor(n_max * falloff + 1e-9), 1).astype(np.int64)  # 1e-9: 10 * 0.1 must stay 1
    kept = [rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(ranked, counts, strict=True)]
    return np.sort(np.concatenate(kept))


def symmetric_noise(labels: Labels, rate: float, num_classes: int, rng: np.random.Generator) -> Labels:
    """Flip exactly round(rate * N) labels, each to one of the C-1 others with equal chance.

    Returns:
        new labels, int64 [N].

    Raises:
        ConfigError: the rate is not in 0..1, or there is only one class.
    """
    flipped = rng.choice(len(labels), size=_num_flips(rate, len(labels), num_classes), replace=False)
    noisy = labels.copy()
    noisy[flipped] = (labels[flipped] + rng.integers(1, num_classes, size=len(flipped))) % num_classes
    return noisy


def asymmetric_noise(
    labels: Labels,
    rate: float,
    num_classes: int,
    rng: np.random.Generator,
    mapping: Mapping[int, int] | None = None,
) -> Labels:
    """Flip exactly round(rate * N) labels, each to the one class that its own is taken for.

    Args:
        labels: int64 [N].
        rate: share of *all* labels that flips. "40 % asymmetric noise" of a paper whose map covers half of the
            examples is `rate=0.2` here.
        num_classes: C.
        rng: chooses which labels flip.
        mapping: class -> the class it is taken for; unnamed classes stay clean; None: c -> (c+1) mod C.

    Returns:
        new labels, int64 [N].

    Raises:
        ConfigError: a bad rate or map, or more flips asked for than the map's classes have examples.
    """
    count = _num_flips(rate, len(labels), num_classes)
    pairs = {c: (c + 1) % num_classes for c in range(num_classes)} if mapping is None else dict(mapping)
    table = np.arange(num_classes)  # [C]
    for source, target in pairs.items():
        if source == target or not (0 <= source < num_classes and 0 <= target < num_classes):
            raise ConfigError(
                f"{source} -> {target} is not a flip between {num_classes} classes", key="data.noise_kind"
            )
        table[source] = target
    eligible = np.flatnonzero(table[labels] != labels)
    if count > len(eligible):
        raise ConfigError(f"{count} flips asked for, the map covers {len(eligible)} examples", key="data.noise")
    flipped = rng.choice(eligible, size=count, replace=False)
    noisy = labels.copy()
    noisy[flipped] = table[labels[flipped]]
    return noisy


def instance_noise(
    features: NDArray[np.float32], labels: Labels, rate: float, num_classes: int, rng: np.random.Generator
) -> Labels:
    """Flip exactly round(rate * N) labels, where and to what depends on the example's features.

    After Xia et al., "Part-dependent Label Noise", NeurIPS 2020, Algorithm 2: flip rates q are drawn from a normal of
    mean `rate` and deviation 0.1 truncated to 0..1, and a flip goes to class j with softmax_j(x W_y), W_y normal.
    Differs: the paper gives the q to examples at random, so only the target depends on x; here the larger q go to the
    examples with the larger projection x . v, so whether a label flips depends on x too. And the flips are
    drawn without replacement in proportion to q, so their number is exact.

    Args:
        features: float32 [N, ...].
        labels: int64 [N].
        rate: share of labels that flips, 0..1.
        num_classes: C.
        rng: draws q, v, W and the flips.

    Returns:
        new labels, int64 [N].

    Raises:
        ConfigError: the rate is not in 0..1, or there is only one class.
    """
    n = len(labels)
    count = _num_flips(rate, n, num_classes)
    noisy = labels.copy()
    if count == 0:
        return noisy
    flat = features.reshape(n, -1).astype(np.float64)  # [N, F]
    q = np.empty(n)
    q[np.argsort(flat @ rng.normal(size=flat.shape[1]), kind="stable")] = np.sort(_truncated_normal(rate, n, rng))
    flipped = rng.choice(n, size=count, replace=False, p=q / q.sum())
    for label in range(num_classes):
        chosen = flipped[labels[flipped] == label]
        score = flat[chosen] @ rng.normal(size=(flat.shape[1], num_classes))  # [n_label, C]
        score[:, label] = -np.inf
        score -= np.log(-np.log(rng.random(score.shape)))  # Gumbel: the arg max is a draw from the softmax
        noisy[chosen] = score.argmax(axis=1)
    return noisy


def class_incremental(labels: Labels, num_tasks: int, order: Sequence[int] | None = None) -> list[Indices]:
    """A stream of tasks, each with classes of its own (van de Ven & Tolias, 2019: class-incremental).

    Args:
        labels: int64 [N].
        num_tasks: tasks, at most C; class counts of tasks differ by at most one.
        order: the classes, first task first; None: 0, 1, ..., C-1. For a random order pass `rng.permutation(C)`.

    Returns:
        `num_tasks` sorted int64 index arrays, disjoint, covering 0..N-1.

    Raises:
        ConfigError: more tasks than classes, or `order` is not a permutation of the classes.
    """
    groups = task_classes(len(np.bincount(labels)), num_tasks, order)
    return [np.flatnonzero(np.isin(labels, group)) for group in groups]


def task_classes(num_classes: int, num_tasks: int, order: Sequence[int] | None = None) -> list[NDArray[np.int64]]:
    """The classes of each task of `class_incremental`.

    Args:
        num_classes: C.
        num_tasks: see there.
        order: see there.

    Returns:
        `num_tasks` int64 arrays; their lengths differ by at most one.

    Raises:
        ConfigError: more tasks than classes, or `order` is not a permutation of the classes.
    """
    ranked = _class_order(order, num_classes)
    if not 1 <= num_tasks <= len(ranked):
        raise ConfigError(f"{len(ranked)} classes cannot make {num_tasks} tasks", key="data.tasks")
    return list(np.array_split(ranked, num_tasks))


def mislabelled(
    data: Dataset, kind: str, rate: float, rng: np.random.Generator, mapping: Mapping[int, int] | None = None
) -> Dataset:
    """A data set with wrong labels planted; `true_y` keeps the right ones.

    Args:
        data: N examples.
        kind: symmetric, asymmetric or instance.
        rate: share of wrong labels, exactly round(rate * N) of them; asymmetric: the share of the n examples whose
            class `mapping` names, as published rates mean it, exactly round(rate * n).
        rng: chooses them.
        mapping: of asymmetric noise, see there.

    Raises:
        ConfigError: an unknown kind, a bad rate or map.
    """
    labels, classes = data.labels, data.num_classes
    look_up(dict.fromkeys(NOISE_KINDS), kind, key="data.noise_kind")
    if kind == "symmetric":
        noisy = symmetric_noise(labels, rate, classes, rng)
    elif kind == "instance":
        noisy = instance_noise(data.x, labels, rate, classes, rng)
    else:
        named = len(labels) if mapping is None else int(np.isin(labels, list(mapping)).sum())
        overall = round(rate * named) / max(1, len(labels))
        noisy = asymmetric_noise(labels, overall, classes, rng, mapping)
    return replace(data, y=noisy, true_y=labels if data.true_y is None else data.true_y)


def _class_order(order: Sequence[int] | None, num_classes: int) -> NDArray[np.int64]:
    ranked = np.arange(num_classes) if order is None else np.asarray(order, dtype=np.int64)
    if not np.array_equal(np.sort(ranked), np.arange(num_classes)):
        raise ConfigError(
            f"not an order of the classes 0..{num_classes - 1}: {ranked.tolist()}", key="data.class_order"
        )
    return ranked


def _num_flips(rate: float, num_examples: int, num_classes: int) -> int:
    if not 0 <= rate <= 1:
        raise ConfigError(f"noise rate {rate} is not between 0 and 1", key="data.noise")
    if num_classes < 2:
        raise ConfigError("label noise needs at least two classes", key="data.noise")
    return round(rate * num_examples)


def _truncated_normal(mean: float, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """float64 [size] in 0..1, by the inverse distribution function: no rejection, always the same number of draws."""
    normal = NormalDist(mean, RATE_SPREAD)
    uniform = rng.uniform(normal.cdf(0), normal.cdf(1), size=size)
    tiny = 1e-12  # the inverse is infinite at 0 and at 1
    return np.clip([normal.inv_cdf(min(max(float(u), tiny), 1 - tiny)) for u in uniform], tiny, 1)
