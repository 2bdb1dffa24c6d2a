"""Kernels over a Gram matrix against the same worked out on the rows themselves, slowly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.server.defence.gram import (
    cosines,
    distances_to,
    geometric_median,
    krum_scores,
    middle,
    mixing,
    squared_distances,
)

seeds = st.integers(0, 2**32 - 1)


def rows_of(seed: int, n: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, size)) * rng.uniform(0.2, 4, size=(n, 1)) + 3 * rng.normal(size=size)


@given(seed=seeds, n=st.integers(1, 9), size=st.integers(1, 30))
def test_distances_and_cosines_are_those_of_the_rows(seed: int, n: int, size: int) -> None:
    rows = rows_of(seed, n, size)
    gram, weights = rows @ rows.T, np.random.default_rng(seed).normal(size=n)
    apart = [[np.sum((a - b) ** 2) for b in rows] for a in rows]
    alike = [[a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for b in rows] for a in rows]
    np.testing.assert_allclose(squared_distances(gram), apart, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(cosines(gram), alike, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(distances_to(gram, weights), np.linalg.norm(rows - weights @ rows, axis=1), atol=1e-5)


def test_a_row_of_zeros_has_no_direction() -> None:
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    np.testing.assert_array_equal(cosines(rows @ rows.T), [[0, 0, 0], [0, 1, 1], [0, 1, 1]])


@given(seed=seeds, n=st.integers(3, 10), size=st.integers(1, 30), data=st.data())
def test_mixing_averages_each_row_with_those_nearest_to_it(seed: int, n: int, size: int, data: st.DataObject) -> None:
    f = data.draw(st.integers(0, (n - 1) // 2))
    rows = rows_of(seed, n, size)
    expected = []
    for row in rows:
        order = sorted(range(n), key=lambda at, row=row: float(np.sum((rows[at] - row) ** 2)))
        expected.append(rows[order[: n - f]].mean(axis=0))
    weights = mixing(rows @ rows.T, f)
    np.testing.assert_allclose(weights @ rows, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (np.diagonal(weights) > 0).all()


def test_mixing_decides_between_equals_by_order_and_never_against_the_row_itself() -> None:
    twins = mixing(np.ones((4, 4)), 1)
    np.testing.assert_allclose(3 * twins, [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 0, 1]])


@settings(max_examples=40)
@given(seed=seeds, n=st.integers(1, 12), size=st.integers(2, 40), far=st.floats(0, 1e4))
def test_no_point_has_a_smaller_sum_of_distances_than_the_geometric_median(
    seed: int, n: int, size: int, far: float
) -> None:
    rows = rows_of(seed, n, size)
    rows[: (n - 1) // 2] += far
    rng = np.random.default_rng(seed)

    def sum_of_distances(point: np.ndarray) -> float:
        return float(np.linalg.norm(rows - point, axis=1).sum())

    weights = geometric_median(rows @ rows.T)
    median = weights @ rows
    least = sum_of_distances(median)
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()
    for scale in (1e-3, 0.1, 3.0):
        assert least <= sum_of_distances(median + scale * rng.normal(size=size)) + 1e-4 * least / n
    assert least <= min(sum_of_distances(row) for row in rows) + 1e-4 * least / n


def test_where_most_rows_are_one_point_that_is_the_geometric_median() -> None:
    rows = np.array([[1.0, 2.0]] * 4 + [[50.0, -70.0], [0.0, 9.0], [-3.0, 1.0]])
    np.testing.assert_allclose(geometric_median(rows @ rows.T) @ rows, [1, 2], atol=1e-4)
    np.testing.assert_allclose(geometric_median(np.ones((5, 5))), [0.2] * 5)  # all the same


def test_the_geometric_median_of_a_line_is_its_median() -> None:
    line = np.array([[0.0], [1.0], [3.0], [7.0], [2000.0]])
    np.testing.assert_allclose(geometric_median(line @ line.T) @ line, [3], atol=1e-3)


@given(seed=seeds, n=st.integers(4, 12), shift=st.floats(1, 1e3))
def test_what_all_rows_share_costs_no_precision(seed: int, n: int, shift: float) -> None:
    rows = rows_of(seed, n, 20)
    moved = rows + shift
    np.testing.assert_allclose(geometric_median(moved @ moved.T), geometric_median(rows @ rows.T), rtol=1e-3)
    np.testing.assert_allclose(krum_scores(moved @ moved.T, 1), krum_scores(rows @ rows.T, 1), rtol=1e-5)


def test_few_values_do_not_move_the_middle_far() -> None:
    values = np.random.default_rng(1).normal(5, 2, size=1001)
    median, sigma = middle(values)
    assert (median, sigma) == (pytest.approx(5, abs=0.2), pytest.approx(2, abs=0.2))
    values[:300] = 1e12
    median, sigma = middle(values)
    assert median < 7
    assert sigma < 5
    assert middle(np.array([4.0, 4.0, 4.0, 1e9])) == (4.0, 0.0)
