"""(f, kappa)-robustness, of the rules of which it is proved: a property over all subsets of rows that may be honest.

Allouah et al. (https://arxiv.org/abs/2302.01772), definition 2: a rule F is (f, kappa)-robust if, for every set S of
n - f rows, |F - mean of S|^2 <= kappa * (1 / |S|) sum over S of |row - mean of S|^2. Nobody tells it which S is honest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.server.aggregate.robust import combined
from roughfed.server.defence import RULES, Situation, view_of_arrays
from roughfed.server.defence.view import reader

SIZE = 12


def trimmed(n: int, f: int) -> float:
    return 6 * f / (n - 2 * f) * (1 + f / (n - 2 * f))


def middle(n: int, f: int) -> float:
    return 4 * (1 + f / (n - 2 * f)) ** 2


def krum(n: int, f: int) -> float:
    """The paper's 6 (n - f) / (n - 2f) counts one neighbour more, so it has one honest row more to go by."""
    return 6 * (n - f) / (n - 2 * f - 1)


def multi_krum(n: int, f: int) -> float:
    """By the same steps, V being the sum over S: |row - mean of S|^2 <= 2 (score + V) / (n - 2f - 1) for any row.

    The rows outside of S that are kept, f at most, score no more than those of S in whose place they are, and all
    scores of S together are 2 (n - f) V at most.
    """
    return 1 + 2 * (2 * (n - f) + f) / (n - 2 * f - 1)


def mixed(n: int, f: int) -> float:
    return 8 * f / (n - f) * (trimmed(n, f) + 1)


KAPPA: dict[str, Callable[[int, int], float]] = {
    "krum": krum,
    "multi-krum": multi_krum,
    "nnm": mixed,
    "median": middle,
    "trimmed-mean": trimmed,
    "geometric-median": middle,
}

HOSTILE: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "far": lambda honest, rng: 1e3 * rng.normal(size=SIZE),
    "opposite": lambda honest, rng: -5 * honest.mean(axis=0),
    "alie": lambda honest, rng: honest.mean(axis=0) - rng.uniform(0.3, 3) * honest.std(axis=0),
    "ipm": lambda honest, rng: -rng.uniform(0, 1) * honest.mean(axis=0),
    "mimic": lambda honest, rng: honest[int(np.linalg.norm(honest - honest.mean(axis=0), axis=1).argmax())],
    "edge": lambda honest, rng: 2 * honest[rng.integers(len(honest))] - honest.mean(axis=0),
    "none": lambda honest, rng: honest.mean(axis=0) + honest.std(axis=0) * rng.normal(size=SIZE),
}


def rows_of(seed: int, n: int, f: int, attack: str) -> np.ndarray:
    """float32 [n, SIZE]: honest rows of one or two kinds, of unequal spread, and f of an attack, among them."""
    rng = np.random.default_rng(seed)
    kinds = rng.normal(size=(2, SIZE)) * rng.choice([0.0, 1.0, 5.0])
    honest = kinds[rng.integers(2, size=n - f)] + rng.normal(size=(n - f, SIZE)) * rng.uniform(0.05, 3, size=SIZE)
    together = rng.integers(2)  # the attackers send the same, or each its own
    rows = [HOSTILE[attack](honest, np.random.default_rng(seed + (0 if together else at))) for at in range(f)]
    return rng.permutation(np.concatenate([honest, rows])).astype(np.float32)


def aggregate(name: str, rows: np.ndarray, f: int) -> np.ndarray:
    named = {f"c{at:02}": row for at, row in enumerate(rows)}
    verdict = RULES[name].judge(view_of_arrays(named, kind="updates"), Situation(f))
    if verdict.combine is None:
        return np.mean([row for key, row in named.items() if key not in verdict.excluded], axis=0, dtype=np.float64)
    return combined(verdict.combine, {key: reader(row) for key, row in named.items()})(0, SIZE).astype(np.float64)


def ratios(found: np.ndarray, rows: np.ndarray, f: int) -> Iterator[float]:
    """The left side by the right one without kappa, for every S."""
    wide = rows.astype(np.float64)
    for kept in combinations(range(len(rows)), len(rows) - f):
        mean = wide[list(kept)].mean(axis=0)
        spread = np.mean(np.sum((wide[list(kept)] - mean) ** 2, axis=1))
        rounding = (1e-6 * np.abs(rows).max()) ** 2  # float32
        yield max(float(np.sum((found - mean) ** 2) - rounding), 0.0) / float(spread)


@pytest.mark.parametrize("attack", HOSTILE)
@pytest.mark.parametrize("name", KAPPA)
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(7, 11), data=st.data())
def test_no_attacker_moves_the_aggregate_beyond_the_bound(
    name: str, attack: str, seed: int, n: int, data: st.DataObject
) -> None:
    f = data.draw(st.integers(1, (n - 3) // 2))
    rows = rows_of(seed, n, f, attack)
    assert max(ratios(aggregate(name, rows, f), rows, f)) <= KAPPA[name](n, f)


def test_the_mean_keeps_no_bound() -> None:
    """The property can fail."""
    rows = rows_of(1, 9, 2, "far")
    assert max(ratios(rows.mean(axis=0), rows, 2)) > 20 * max(bound(9, 2) for bound in KAPPA.values())
