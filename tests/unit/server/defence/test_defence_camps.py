"""More suspects than f: colluders and clients of another kind are told, alone and in the rule's verdict."""

from __future__ import annotations

import numpy as np
import pytest

from roughfed.server.defence import RULES, Situation, view_of_arrays
from roughfed.server.defence.camps import FEWEST, ROUNDS, camps
from roughfed.server.defence.verdict import NOTHING, State

WIDTH = 400


def draw(rng: np.random.Generator, n: int, minority: int, *, apart: float, ways: np.ndarray) -> np.ndarray:
    """Updates, float32 [n, WIDTH]: a common way, each client's own one, noise; the first few go yet another way."""
    common, other = np.zeros(WIDTH), np.zeros(WIDTH)
    common[:20], other[20:40] = 1.0, apart
    rows = common + 0.5 * ways + rng.normal(size=(n, WIDTH)) * 0.3
    rows[:minority] += other
    return rows.astype(np.float32)


def smaller(
    n: int, minority: int, *, apart: float, seed: int, rounds: int = 8, join: int = 0, away: float = 0.0
) -> list[set[str]]:
    """Who is in the smaller camp, round by round.

    The last `join` clients come in the fourth round; everybody misses this share of the rounds.
    """
    rng = np.random.default_rng(seed)
    ways = rng.normal(size=(n, WIDTH))
    state: State = NOTHING
    found: list[set[str]] = []
    for number in range(1, rounds + 1):
        here = np.flatnonzero(rng.random(n if number > 3 else n - join) >= away)
        names = [f"c{at:02}" for at in here]
        rows = draw(rng, n, minority, apart=apart, ways=ways)[here].astype(np.float64)
        which, kept = camps(state, names, rows @ rows.T, number)
        state = {**state, **kept}
        found.append({name for name, in_it in zip(names, which, strict=True) if in_it})
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [FEWEST, 20, 60])
def test_a_minority_that_goes_another_way_is_a_camp(n: int, seed: int) -> None:
    minority = n * 2 // 5
    found = smaller(n, minority, apart=3.0, seed=seed)
    assert all(not each for each in found[: ROUNDS - 1])
    assert all(each == {f"c{at:02}" for at in range(minority)} for each in found[ROUNDS - 1 :])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [FEWEST, 20, 60])
def test_clients_that_all_differ_are_no_camps(n: int, seed: int) -> None:
    assert smaller(n, 0, apart=0.0, seed=seed) == [set()] * 8


def test_camps_outlive_that_clients_join() -> None:
    assert smaller(20, 8, apart=3.0, seed=1, join=4)[-1] == {f"c{at:02}" for at in range(8)}


@pytest.mark.parametrize("seed", range(4))
def test_camps_outlive_that_clients_miss_rounds(seed: int) -> None:
    """What is remembered of those that were away is turned as the others' coordinates turn."""
    found = smaller(20, 8, apart=3.0, seed=seed, rounds=20, away=0.2)[8:]
    hostile = {f"c{at:02}" for at in range(8)}
    assert all(each <= hostile or not each & hostile for each in found)  # of one kind
    assert all(len(each) >= 4 for each in found)
    assert sum(each <= hostile for each in found) >= 8


def test_state_of_another_version_counts_for_nothing() -> None:
    names = [f"c{at}" for at in range(9)]
    old: State = {f"camp/{name}": np.ones(3) for name in names}
    which, kept = camps(old, names, np.eye(9), 5)
    assert not which.any()
    assert all(len(row) == 6 for row in kept.values())


@pytest.mark.parametrize("gram", [np.zeros((9, 9)), np.ones((9, 9)), np.eye(9), np.zeros((1, 1)), np.ones((3, 3))])
def test_nothing_is_said_of_rows_that_say_nothing(gram: np.ndarray) -> None:
    names, state = [f"c{at}" for at in range(len(gram))], NOTHING
    for number in range(1, 7):
        which, state = camps(state, names, gram, number)
        assert not which.any()
        assert all(np.isfinite(row).all() for row in state.values())


def suspects(minority: int, *, flip: bool) -> tuple[set[str], set[str]]:
    """(suspects, left out) of the eighth round of 20 clients, f = 4."""
    rng = np.random.default_rng(3)
    ways, state = rng.normal(size=(20, WIDTH)), NOTHING
    for number in range(1, 9):
        rows = draw(rng, 20, 0, apart=0.0, ways=ways)
        rows[:minority] = -rows.mean(axis=0) + rows[:minority] * 0.3 if flip else rows[:minority]
        view = view_of_arrays({f"c{at:02}": row for at, row in enumerate(rows)})
        verdict = RULES["default"].judge(view, Situation(4, number, 0, state))
        state = verdict.state
    return set(verdict.suspects), set(verdict.excluded)


@pytest.mark.parametrize("minority", [6, 9])
def test_the_default_tells_of_more_than_it_may_leave_out(minority: int) -> None:
    found, out = suspects(minority, flip=True)
    assert found >= {f"c{at:02}" for at in range(minority)}  # near a half, honest ones are suspicious as well
    assert len(out) <= 4


def test_the_default_suspects_nobody_among_the_honest() -> None:
    assert suspects(0, flip=False) == (set(), set())
