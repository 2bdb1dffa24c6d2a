"""DnC against a slow reading of the paper, and the attack that it was made against."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import TooFewClients
from roughfed.server.defence import Situation, View, view_of_arrays, view_of_claims
from roughfed.server.defence.rules import multi_krum
from roughfed.server.defence.rules.dnc import judge, outlying

seeds = st.integers(0, 2**32 - 1)


def view_of(rows: np.ndarray) -> View:
    return view_of_arrays({f"c{i:02}": row.astype(np.float32) for i, row in enumerate(rows)}, kind="updates")


def sketches_of(rows: np.ndarray) -> View:
    return view_of_claims({f"c{i:02}": row for i, row in enumerate(rows)}, length=rows.shape[1], norm_unit=1.0)


def paper(rows: np.ndarray) -> np.ndarray:
    """Algorithm 2 with all coordinates: the top right singular vector of the centred rows by power iteration."""
    centred = rows - rows.mean(axis=0)
    along = np.random.default_rng(0).normal(size=rows.shape[1])
    for _ in range(1000):
        along = centred.T @ (centred @ along)
        along /= np.linalg.norm(along)
    return (centred @ along) ** 2


@given(seed=seeds, n=st.integers(3, 10), size=st.integers(2, 20))
def test_scores_are_those_of_the_paper(seed: int, n: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, size)).astype(np.float32).astype(float)
    rows[:, 0] *= 5  # the first two singular values well apart: the slow way converges
    rows = rows.astype(np.float32).astype(float)
    found, expected = outlying(view_of(rows).gram()), paper(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.max())


@pytest.mark.parametrize("make", [view_of, sketches_of])
@pytest.mark.parametrize("hostile", [3, 4, 9])
def test_rows_that_share_a_direction_of_their_own_are_removed(make: type, hostile: int) -> None:
    """Each of them is no longer and no farther from the mean than honest rows: only together they stand out."""
    rng = np.random.default_rng(hostile)
    rows = rng.normal(size=500) + rng.normal(size=(20, 500))
    aside = rng.normal(size=500)
    rows[:hostile] = rows[hostile:].mean(axis=0) + aside / np.linalg.norm(aside) * (0.9 * np.sqrt(500))
    verdict = judge(make(rows), Situation(hostile))
    assert verdict.excluded == {f"c{i:02}": "dnc" for i in range(hostile)}
    if hostile == 4:  # near the mean, and near one another: Multi-Krum likes them best
        assert multi_krum.judge(make(rows), Situation(hostile)).excluded.keys().isdisjoint(verdict.excluded)


def test_a_common_part_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(9, 30))
    moved = rows + 3 * rng.normal(size=30)
    np.testing.assert_allclose(outlying(sketches_of(rows).gram()), outlying(sketches_of(moved).gram()), rtol=1e-6)


def test_equal_rows_few_rows_and_nobody_suspected() -> None:
    assert len(judge(view_of(np.ones((5, 4))), Situation(2)).excluded) == 2
    assert judge(view_of(np.eye(2)), Situation(0)).excluded == {}
    with pytest.raises(TooFewClients) as caught:
        judge(view_of(np.eye(4)), Situation(2))
    assert (caught.value.needed, caught.value.got) == (5, 4)
