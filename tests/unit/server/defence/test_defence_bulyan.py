"""Bulyan against a slow reading of the paper, and its bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import TooFewClients
from roughfed.server.aggregate.robust import combined
from roughfed.server.defence import Situation, View, view_of_arrays
from roughfed.server.defence.rules.bulyan import judge, min_rows, picks
from roughfed.server.defence.verdict import Coordinatewise
from roughfed.server.defence.view import reader


def view_of(rows: np.ndarray) -> View:
    return view_of_arrays({f"c{at:03}": row for at, row in enumerate(rows)}, kind="updates")


def krum(rows: list[np.ndarray], f: int) -> int:
    """The row with the least sum of squared distances to its n - f - 2 nearest ones, or to the nearest one."""
    scores = []
    for at, row in enumerate(rows):
        distances = sorted(float(np.sum((row - other) ** 2)) for i, other in enumerate(rows) if i != at)
        scores.append(sum(distances[: max(1, len(rows) - f - 2)]))
    return int(np.argmin(scores))


def paper(rows: np.ndarray, f: int) -> tuple[list[int], np.ndarray]:
    """Section 4: theta times Krum among those left, then the mean of the beta values nearest to the median."""
    left, picked = list(range(len(rows))), list[int]()
    while len(picked) < len(rows) - 2 * f:
        picked.append(left.pop(krum([rows[at] for at in left], f)))
    beta = len(picked) - 2 * f
    found = []
    for values in rows[picked].T:
        median = np.median(values)
        found.append(np.mean(sorted(values, key=lambda value: abs(value - median))[:beta]))
    return picked, np.array(found)


def aggregate(rows: np.ndarray, f: int) -> np.ndarray:
    how = judge(view_of(rows), Situation(f)).combine
    assert isinstance(how, Coordinatewise)
    return combined(how, {f"c{at:03}": reader(row) for at, row in enumerate(rows)})(0, rows.shape[1])


@given(seed=st.integers(0, 2**32 - 1), f=st.integers(1, 3), more=st.integers(0, 6), size=st.integers(2, 30))
def test_it_does_what_the_paper_says(seed: int, f: int, more: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    n = 4 * f + 3 + more
    rows = (rng.normal(size=(n, size)) * rng.uniform(0.2, 4, size=(n, 1))).astype(np.float32)
    exact = rows.astype(np.float64)
    picked, expected = paper(exact, f)
    assert picks(exact @ exact.T, f) == picked
    verdict = judge(view_of(rows), Situation(f))
    assert verdict.excluded == {f"c{at:03}": "bulyan" for at in range(len(rows)) if at not in picked}
    by_score = sorted(verdict.scores, key=verdict.scores.__getitem__)
    assert by_score[: len(picked)] == [f"c{at:03}" for at in picked]
    np.testing.assert_allclose(aggregate(rows, f), expected, rtol=1e-5, atol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), f=st.integers(1, 3))
def test_every_coordinate_stays_among_those_of_honest_rows(seed: int, f: int) -> None:
    """Attackers who are near as a whole and far in one coordinate, which is what Bulyan is against."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(4 * f + 3, 200)).astype(np.float32)
    rows[:f] = rows[f:].mean(axis=0)
    rows[:f, 7] += 8
    found, honest = aggregate(rows, f), rows[f:]
    assert (found >= honest.min(axis=0)).all()
    assert (found <= honest.max(axis=0)).all()


@pytest.mark.parametrize("f", [1, 2, 5])
def test_4f_plus_3_rows_are_enough_and_fewer_void_the_round(f: int) -> None:
    rows = np.random.default_rng(f).normal(size=(4 * f + 3, 4)).astype(np.float32)
    rows[:f] *= 1000  # each in a place of its own: the last pick has so few neighbours that twins could be picked
    excluded = judge(view_of(rows), Situation(f)).excluded
    assert len(excluded) == 2 * f
    assert {f"c{at:03}" for at in range(f)} <= excluded.keys()
    with pytest.raises(TooFewClients) as caught:
        judge(view_of(rows[1:]), Situation(f))
    assert (caught.value.needed, caught.value.got) == (min_rows(f), 4 * f + 2)


def test_twins_are_picked_by_name() -> None:
    assert picks(np.ones((7, 7)), 1) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("n", [1, 2, 9])
def test_nobody_suspected_is_the_plain_mean(n: int) -> None:
    rows = np.random.default_rng(n).normal(size=(n, 4)).astype(np.float32)
    verdict = judge(view_of(rows), Situation(0))
    assert (verdict.excluded, verdict.scores) == ({}, {})
    np.testing.assert_allclose(aggregate(rows, 0), rows.mean(axis=0), rtol=1e-5, atol=1e-7)
