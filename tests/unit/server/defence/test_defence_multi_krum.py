"""Multi-Krum against a slow reading of the paper, with twins, ties and too few rows."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import TooFewClients
from roughfed.server.defence.gram import krum_scores, squared_distances
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.rules.multi_krum import judge, min_rows
from roughfed.server.defence.view import View, view_of_claims, view_of_files


def view_of(rows: np.ndarray, names: list[str] | None = None) -> View:
    """Rows as claims with a unit of 1: the Gram matrix is rows @ rows.T."""
    names = names or [f"c{i:03}" for i in range(len(rows))]
    return view_of_claims(dict(zip(names, rows, strict=True)), length=rows.shape[1], norm_unit=1.0)


def paper(rows: np.ndarray, f: int) -> set[str]:
    """Section 4, word by word: V_i's score is the sum over its n - f - 2 closest vectors of |V_i - V_j|^2."""
    n = len(rows)
    score = {}
    for i in range(n):
        distances = sorted(float(np.sum((rows[i] - rows[j]) ** 2)) for j in range(n) if j != i)
        score[f"c{i:03}"] = sum(distances[: n - f - 2])
    best = sorted(score, key=lambda name: (score[name], name))[: n - f]
    return score.keys() - best


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(5, 14), size=st.integers(2, 60), data=st.data())
def test_it_leaves_out_whom_the_paper_leaves_out(seed: int, n: int, size: int, data: st.DataObject) -> None:
    f = data.draw(st.integers(1, (n - 3) // 2))
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, size)) * rng.uniform(0.2, 4, size=(n, 1))
    excluded = judge(view_of(rows), Situation(f)).excluded
    assert excluded.keys() == paper(rows, f)
    assert set(excluded.values()) == {"multi-krum"}


def test_scores_by_hand() -> None:
    """Points 0, 1, 3, 7, 20 on a line, f = 1: two neighbours each."""
    line = np.array([[0.0], [1.0], [3.0], [7.0], [20.0]])
    np.testing.assert_allclose(krum_scores(line @ line.T, 1), [1 + 9, 1 + 4, 4 + 9, 16 + 36, 169 + 289])
    np.testing.assert_allclose(squared_distances(line @ line.T), (line - line.T) ** 2)


def test_a_twin_is_a_neighbour_and_a_row_itself_is_not() -> None:
    """Dropping the smallest distance instead of the row's own would give both twins a better score than they have."""
    line = np.array([[0.0], [0.0], [5.0], [6.0], [8.0], [9.0]])
    np.testing.assert_allclose(krum_scores(line @ line.T, 1)[:2], [25 + 36, 25 + 36])  # 0 (the twin), 25, 36


def test_rounding_makes_no_distance_negative() -> None:
    gram = np.array([[1.0, 1.0 + 1e-15], [1.0 + 1e-15, 1.0]])
    np.testing.assert_array_equal(squared_distances(gram), np.zeros((2, 2)))


def test_equal_scores_are_decided_by_name() -> None:
    corners = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    assert judge(view_of(corners, ["d", "b", "e", "c", "a"]), Situation(1)).excluded.keys() == {"e"}
    assert judge(view_of(corners, ["d", "e", "b", "c", "a"]), Situation(1)).excluded.keys() == {"e"}
    alike = judge(view_of(np.ones((7, 3))), Situation(2))
    assert alike.excluded.keys() == {"c005", "c006"}  # the last two


@pytest.mark.parametrize(("n", "f"), [(0, 0), (1, 1), (3, 1), (4, 1), (6, 2), (10, 4)])
def test_too_few_rows_void_the_round(n: int, f: int) -> None:
    """2f + 2 < n or nothing: f is never made smaller to fit."""
    with pytest.raises(TooFewClients) as caught:
        judge(view_of(np.ones((n, 3))), Situation(f))
    assert (caught.value.needed, caught.value.got) == (min_rows(f), n)


@pytest.mark.parametrize("f", [1, 2, 5])
def test_2f_plus_3_rows_are_enough(f: int) -> None:
    rows = np.random.default_rng(f).normal(size=(2 * f + 3, 4))
    rows[:f] += 100
    assert judge(view_of(rows), Situation(f)).excluded.keys() == {f"c{i:03}" for i in range(f)}


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_nobody_suspected_nobody_left_out(n: int) -> None:
    rows = np.random.default_rng(n).normal(size=(n, 4))
    rows[0] += 1e6
    assert judge(view_of(rows), Situation(0)).excluded == {}


def test_nothing_is_read_where_nobody_is_suspected(tmp_path: Path) -> None:
    paths = {f"c{i}": tmp_path / "none" for i in range(8)}
    assert judge(view_of_files(paths, size=10**9), Situation(0)).excluded == {}


def test_a_hundred_sketches_take_less_than_a_tenth_of_a_second() -> None:
    rng = np.random.default_rng(5)
    claims = {f"c{i:03}": rng.normal(size=128) for i in range(100)}
    took = []
    for _ in range(3):
        start = time.perf_counter()
        assert len(judge(view_of_claims(claims, length=10**7, norm_unit=1e4), Situation(20)).excluded) == 20
        took.append(time.perf_counter() - start)
    assert min(took) <= 0.1
