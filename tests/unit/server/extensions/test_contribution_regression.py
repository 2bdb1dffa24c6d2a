"""Scores of single clients out of groups that are dealt anew: planted worth comes back, with honest intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from roughfed.server.extensions.contribution import METHODS, NOTHING, State, replay
from roughfed.server.extensions.contribution.intervals import t_95
from roughfed.server.extensions.contribution.methods.group_regression import WINDOW

REGRESSION = METHODS["group-regression"]
CLIENTS, GROUPS = 24, 3


def dealt(
    rng: np.random.Generator, worth: np.ndarray, *, noise: float, deal: np.ndarray
) -> dict[str, dict[str, float]]:
    """Parts of a round: clients in groups as `deal` says, each told its group's mean worth and some noise."""
    level = rng.normal(1, 0.5)
    heard = [level + worth[deal == group].mean() + noise * rng.normal() for group in range(GROUPS)]
    return {f"c{at:02}": {"round": heard[deal[at]], "group": float(deal[at])} for at in range(CLIENTS)}


def rounds_of(seed: int, number: int, *, noise: float = 0.05) -> tuple[np.ndarray, list[dict[str, dict[str, float]]]]:
    rng = np.random.default_rng(seed)
    worth = rng.normal(size=CLIENTS)
    deals = [rng.permutation(np.arange(CLIENTS) % GROUPS) for _ in range(number)]
    return worth, [dealt(rng, worth, noise=noise, deal=deal) for deal in deals]


def folded(rounds: list[dict[str, dict[str, float]]]) -> State:
    state = NOTHING
    for found in rounds:
        state = REGRESSION.fold(state, found)
    return state


def test_it_says_how_many_rounds_are_needed_yet_and_nothing_before() -> None:
    _, rounds = rounds_of(1, 12)
    to_go = [REGRESSION.needed_rounds(folded(rounds[:number])) for number in range(1, 13)]
    assert to_go == list(range(11, -1, -1))  # each deal tells two of the 23 differences
    assert REGRESSION.standing(folded(rounds[:11])).totals == {}
    assert len(REGRESSION.standing(folded(rounds)).totals) == CLIENTS


def test_groups_that_never_change_tell_nobody_apart() -> None:
    rng, deal = np.random.default_rng(2), np.arange(CLIENTS) % GROUPS
    state = folded([dealt(rng, np.ones(CLIENTS), noise=0.1, deal=deal) for _ in range(30)])
    assert REGRESSION.standing(state).totals == {}
    assert REGRESSION.needed_rounds(state) > 0


def test_planted_worth_comes_back_and_the_intervals_hold_it_as_often_as_they_say() -> None:
    inside = 0
    for seed in range(12):
        worth, rounds = rounds_of(seed, 40)
        found = replay("group-regression", rounds)
        totals = np.array([found.totals[name] for name in sorted(found.totals)])
        assert np.corrcoef(totals, worth)[0, 1] > 0.95
        centred = worth - worth.mean() + totals.mean()  # its level is that of the rounds
        ends = [found.intervals[name] for name in sorted(found.intervals)]
        inside += sum(low <= value <= high for value, (low, high) in zip(centred, ends, strict=True))
    assert 0.92 < inside / (12 * CLIENTS) < 0.98


def test_names_decide_nothing_and_old_rounds_are_forgotten() -> None:
    _, rounds = rounds_of(3, 20)
    other = {f"c{at:02}": f"z{(5 * at) % CLIENTS:02}" for at in range(CLIENTS)}
    renamed = [{other[name]: parts for name, parts in found.items()} for found in rounds]
    ours, theirs = replay("group-regression", rounds), replay("group-regression", renamed)
    for name, total in ours.totals.items():
        assert theirs.totals[other[name]] == pytest.approx(total)
    state = folded(rounds[:2])
    for _ in range(WINDOW):
        state = REGRESSION.fold(state, {"c00": {"round": 0.0, "group": 0.0}})
    assert set(state) == {"c00", "*rounds"}
    assert len(state["c00"]) == 3 * WINDOW


@pytest.mark.parametrize("free", [1, 2, 3, 5, 20, 500])
def test_the_bound_of_student_s_t(free: int) -> None:
    assert t_95(free) == pytest.approx(t.ppf(0.975, free), rel=2e-3)
