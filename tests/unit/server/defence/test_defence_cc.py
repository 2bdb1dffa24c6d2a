"""Centered clipping against a slow reading of the paper, and how little one row can do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import TooFewClients
from roughfed.server.defence import Situation, View, view_of_arrays
from roughfed.server.defence.rules.centered_clipping import judge
from roughfed.server.defence.verdict import Coefficients

seeds = st.integers(0, 2**32 - 1)
PREVIOUS = "*previous"


def view_of(rows: np.ndarray, previous: np.ndarray | None = None) -> View:
    extras = {} if previous is None else {PREVIOUS: previous.astype(np.float32)}
    return view_of_arrays({f"c{i:02}": row.astype(np.float32) for i, row in enumerate(rows)}, extras=extras)


def aggregate(rows: np.ndarray, f: int, previous: np.ndarray | None = None) -> np.ndarray:
    how = judge(view_of(rows, previous), Situation(f)).combine
    assert isinstance(how, Coefficients)
    total = how.by_name.get(PREVIOUS, 0.0) * (np.zeros(rows.shape[1]) if previous is None else previous)
    return total + sum(how.by_name[f"c{i:02}"] * row for i, row in enumerate(rows))


def paper(rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """AggrCC with one step: v + (1 / n) sum_i (x_i - v) min(1, tau / |x_i - v|); tau is the upper median distance."""
    far = [math.dist(row, centre) for row in rows]
    tau = sorted(far)[len(rows) // 2]
    moved = centre.copy()
    for row, distance in zip(rows, far, strict=True):
        moved += (row - centre) * (min(1.0, tau / distance) if distance else 1.0) / len(rows)
    return moved


@given(seed=seeds, n=st.integers(3, 12), size=st.integers(1, 30), known=st.booleans())
def test_it_is_the_papers_step(seed: int, n: int, size: int, known: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(n, size)) * rng.uniform(0.1, 9, size=(n, 1))).astype(np.float32).astype(float)
    previous = rng.normal(size=size).astype(np.float32).astype(float) if known else None
    found = aggregate(rows, (n - 1) // 2, previous)
    np.testing.assert_allclose(found, paper(rows, np.zeros(size) if previous is None else previous), atol=1e-4)


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e6])
def test_an_attackers_pull_is_bounded_by_the_honest_distances(scale: float) -> None:
    """However far f of n rows are, they move the aggregate by f / n of an honest distance, each in any direction."""
    rng = np.random.default_rng(1)
    common = rng.normal(size=50)
    rows = common + 0.3 * rng.normal(size=(10, 50))
    attacked = rows.copy()
    attacked[:3] = scale * rng.normal(size=(3, 50))
    largest = max(np.linalg.norm(row - common) for row in rows)
    moved = np.linalg.norm(aggregate(attacked, 3, common) - aggregate(rows, 3, common))
    assert moved < 2 * 3 / 10 * largest
    assert np.linalg.norm(attacked.mean(axis=0) - common) > 10 * largest  # of the mean nothing is left


def test_rows_at_the_last_step_stay_there_and_nobody_is_left_out() -> None:
    step = np.arange(1.0, 6.0)
    verdict = judge(view_of(np.tile(step, (5, 1)), step), Situation(2))
    assert verdict.excluded == {}
    np.testing.assert_allclose(aggregate(np.tile(step, (5, 1)), 2, step), step, rtol=1e-6)


def test_scores_are_distances_in_units_of_tau() -> None:
    scores = judge(view_of(np.array([[1.0], [2.0], [4.0], [8.0], [-2.0]])), Situation(1)).scores
    assert list(scores.values()) == pytest.approx([0.5, 1.0, 2.0, 4.0, 1.0])


def test_few_rows_and_nobody_suspected() -> None:
    assert judge(view_of(np.eye(2)), Situation(0)).combine is None
    with pytest.raises(TooFewClients) as caught:
        judge(view_of(np.eye(4)), Situation(2))
    assert (caught.value.needed, caught.value.got) == (5, 4)
