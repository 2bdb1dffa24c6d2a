"""Whole numbers in given proportions, and the cuts made with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roughfed.data.dataset import Indices, Labels
from roughfed.errors import ConfigError


def apportion(total: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Split `total` into integers proportional to `shares` by largest remainders.

    Args:
        total: what is split, not negative.
        shares: float64 [K], not negative, not all zero.

    Returns:
        int64 [K] that sums to `total`; each differs from its exact share by less than 1.
    """
    exact = total * shares / shares.sum()  # [K]
    counts = np.floor(exact).astype(np.int64)
    left = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:left]] += 1
    return counts


def stratified_holdout(labels: Labels, fraction: float, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Cut examples in two, the classes in proportion as far as whole numbers allow.

    Args:
        labels: int64 [N], N at least 2.
        fraction: share of the second part, between 0 and 1; both parts get at least one example.
        rng: chooses which examples of a class are held out.

    Returns:
        (kept, held out), sorted int64 indices that are disjoint and cover 0..N-1. A class with a single example is
        kept whole unless nothing else can be held out.

    Raises:
        ConfigError: N < 2, or the fraction is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"{fraction} is not between 0 and 1", key="data.test_fraction")
    if len(labels) < 2:
        raise ConfigError(f"{len(labels)} examples cannot be cut in two", key="data.test_fraction")
    total = min(max(round(fraction * len(labels)), 1), len(labels) - 1)
    count = np.bincount(labels)  # [C]
    quota = apportion(total, count.astype(np.float64))
    quota -= (count == 1) & (quota == 1)
    for _ in range(total - int(quota.sum())):  # what singletons gave up goes where most is left
        quota[np.argmax(count - quota)] += 1
    held = np.zeros(len(labels), dtype=np.bool_)
    for label in np.flatnonzero(quota):
        held[rng.permutation(np.flatnonzero(labels == label))[: quota[label]]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
