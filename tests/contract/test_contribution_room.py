"""Laws of the room `server/contribution`: the axioms of the Shapley value, twins, replay to the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from roughfed.config.conflicts.contribution import MOST
from roughfed.config.contribution import GAMES, SEES
from roughfed.server.extensions.contribution import METHODS, NOTHING, Case, Found, replay
from roughfed.server.extensions.contribution.game import Known, cosines_with, left_out, played
from roughfed.server.extensions.contribution.methods.gtg_shapley import WITHIN
from roughfed.server.extensions.contribution.utility import CLASSIFICATION, in_order, utilities_of

ROWS = {"updates": "updates", "sketches": "sketches", "sums": "groups"}
SHAPLEY = ("shapley", "gtg-shapley")
seeds, few = st.integers(0, 2**32 - 1), settings(max_examples=6, deadline=None)
Game = NDArray[np.float64]


def game_of(seed: int, n: int, *, synergy: float = 0.3) -> Game:
    """Utilities of all coalitions, [2^n, 3]: what everybody brings, less for what others have brought, and noise."""
    rng = np.random.default_rng(seed)
    worth = rng.normal(0.5, 1, size=(n, 3))
    inside = np.arange(1 << n)[:, None] >> np.arange(n) & 1  # [2^n, n]
    return inside @ worth - synergy * (inside @ worth) ** 2 / n + 0.01 * rng.normal(size=(1 << n, 3))


def case_of(n: int, *, budget: int = 51, seed: int = 0, twins: tuple[int, ...] = (), rows: int = 16) -> Case:
    vectors = np.random.default_rng(seed).normal(size=(n, rows))
    for at, first in enumerate(twins):
        vectors[at] = vectors[first]
    gram, weights = vectors @ vectors.T, np.full(n, 1 / n)
    names = tuple(f"c{at:02}" for at in range(n))
    members = {name: (f"{name}-a", f"{name}-b") for name in names}
    return Case(names, weights, lambda: gram, CLASSIFICATION, budget, seed, twins or tuple(range(n)), members)


def scored(name: str, game: Game, case: Case) -> tuple[Found, int]:
    """What a method finds, and how many coalitions it asked for."""
    known = Known(case.twins)
    found = played(METHODS[name].judge(case), lambda asked: [game[one].copy() for one in asked], known)
    return found, known.evaluations


def table(found: Found, part: str = "round") -> NDArray[np.float64]:
    return np.array([found[name][part] for name in sorted(found)])


def test_the_settings_and_the_room_speak_of_the_same_methods() -> None:
    assert {name: tuple(ROWS[mode] for mode in modes) for name, modes in SEES.items()} == {
        name: row.sees for name, row in METHODS.items()
    }
    assert {name for name, row in METHODS.items() if row.data == "needed"} == set(GAMES)
    assert METHODS["shapley"].most == MOST


@pytest.mark.parametrize("name", SHAPLEY)
@given(seed=seeds, n=st.integers(1, 8))
@few
def test_scores_add_up_to_what_the_round_won(name: str, seed: int, n: int) -> None:
    game = game_of(seed, n)
    found, _ = scored(name, game, case_of(n, budget=40, seed=seed))
    for at, utility in enumerate(CLASSIFICATION):
        assert table(found, utility).sum() == pytest.approx(game[-1, at] - game[0, at], abs=1e-9)


@pytest.mark.parametrize("name", [*SHAPLEY, "leave-one-out"])
@given(seed=seeds, null=st.integers(0, 6))
@few
def test_who_adds_nothing_to_anybody_gets_nothing(name: str, seed: int, null: int) -> None:
    game = game_of(seed, 7)
    without = np.arange(1 << 7) & ~(1 << null)
    found, _ = scored(name, game[without], case_of(7, budget=60, seed=seed))
    assert abs(table(found)[null]) <= WITHIN  # what a truncated walk is short of is shared by whoever is left


@pytest.mark.parametrize("name", GAMES)
@given(seed=seeds)
@few
def test_twins_get_the_same_to_the_last_bit(name: str, seed: int) -> None:
    """Their models are the same, however noisy an evaluation may be, and each is evaluated once."""
    found, evaluations = scored(name, game_of(seed, 7), case_of(7, seed=seed, twins=(0, 1, 1, 3, 4, 1, 6)))
    scores = table(found)
    assert scores[1] == scores[2] == scores[5]
    assert evaluations <= 4 * 2**4  # none, one, two or three of them, and the other four


@given(seed=seeds)
@few
def test_the_exact_value_is_symmetric_and_linear(seed: int) -> None:
    one, other, case = game_of(seed, 5), game_of(seed + 1, 5), case_of(5)
    both, _ = scored("shapley", 2 * one - 3 * other, case)
    np.testing.assert_allclose(
        table(both), 2 * table(scored("shapley", one, case)[0]) - 3 * table(scored("shapley", other, case)[0])
    )
    order = np.random.default_rng(seed).permutation(5)
    moved = [sum(1 << int(order[at]) for at in range(5) if s >> at & 1) for s in range(1 << 5)]
    permuted, _ = scored("shapley", one[moved], case)
    np.testing.assert_allclose(table(permuted), table(scored("shapley", one, case)[0])[order])


@given(seed=seeds)
@few
def test_walks_stay_within_their_budget_and_near_the_exact_value(seed: int) -> None:
    game = game_of(seed, 10)
    found, evaluations = scored("gtg-shapley", game, case_of(10, budget=51, seed=seed))
    assert 12 < evaluations <= 51
    exact, _ = scored("shapley", game, case_of(10))
    assert np.corrcoef(table(found), table(exact))[0, 1] > 0.95


def test_walks_end_before_their_budget_once_they_have_settled_or_nothing_was_won() -> None:
    rng = np.random.default_rng(0)
    additive = (np.arange(1 << 8)[:, None] >> np.arange(8) & 1) @ rng.normal(1, 0.1, size=(8, 3))
    found, evaluations = scored("gtg-shapley", additive, case_of(8, budget=250))
    assert evaluations < 250
    np.testing.assert_allclose(table(found), additive[1 << np.arange(8), 0])
    found, evaluations = scored("gtg-shapley", 1 + 1e-5 * additive, case_of(8, budget=250))
    assert evaluations == 2
    np.testing.assert_allclose(table(found), 1e-5 * additive[-1, 0] / 8)


def test_what_is_nothing_goes_by_the_size_of_the_utility() -> None:
    """A regression's loss is as small as its targets are: the same game in another unit gives the same scores."""
    game = game_of(3, 8) - 20.0
    plain, tiny = (table(scored("gtg-shapley", unit * game, case_of(8, budget=60))[0]) for unit in (2**-6, 2**-16))
    np.testing.assert_allclose(tiny * 2**10, plain)


def test_cosines_are_those_of_the_rows() -> None:
    rows, weights = np.random.default_rng(1).normal(size=(6, 40)), np.random.default_rng(2).dirichlet(np.ones(6))
    rows[3] = 0
    whole = weights @ rows

    def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) if a.any() else 0.0

    np.testing.assert_allclose(cosines_with(rows @ rows.T, weights), [cosine(row, whole) for row in rows])
    without = [cosine(row, whole - weight * row) for row, weight in zip(rows, weights, strict=True)]
    np.testing.assert_allclose(cosines_with(rows @ rows.T, weights, others=True), without)


@pytest.mark.parametrize("name", METHODS)
def test_a_ledger_that_went_through_json_replays_to_the_same_bits(name: str) -> None:
    row, state, rounds = METHODS[name], NOTHING, []
    for number in range(12):
        found, _ = scored(name, game_of(number, 6), case_of(6, seed=number))
        if number % 3 == 0:  # somebody is away, somebody was left out
            gone = sorted(found)[number % 5]
            found = {client: parts for client, parts in found.items() if client != gone}
            if row.sees != ("groups",):
                found = {**found, **left_out([gone])} if number % 2 else found
        rounds.append(json.loads(json.dumps(found)))
        state = row.fold(state, found)
    assert replay(name, rounds) == row.standing(state)


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.sees != ("groups",)])
def test_who_is_away_keeps_its_total(name: str) -> None:
    found, _ = scored(name, game_of(3, 5), case_of(5))
    before = replay(name, [found])
    after = replay(name, [found, {client: parts for client, parts in found.items() if client != "c02"}])
    assert after.totals["c02"] == before.totals["c02"]
    assert after.totals["c01"] != before.totals["c01"] or name == "cgsv"


def test_a_client_with_a_rare_class_is_worth_much_where_classes_count_the_same() -> None:
    """Ten classes, one of 10 examples in 910: one client brings it, nine bring the others."""
    count = [100] * 9 + [10]

    def sums(coalition: int) -> tuple[int, float, list[int], list[int]]:
        correct = [n * 9 // 10 if coalition >> c & 1 else 0 for c, n in enumerate(count)]
        return sum(count), float(sum(count) - sum(correct)), count, correct

    values: Mapping[str, NDArray[np.float64]] = {}
    for first in CLASSIFICATION:
        names = in_order(first, 10)
        case = Case(
            tuple(f"c{at}" for at in range(10)), np.full(10, 0.1), lambda: np.eye(10), names, 51, 0, tuple(range(10))
        )
        known = Known(case.twins)
        evaluate: Callable = lambda asked, names=names: [utilities_of(sums(one), names) for one in asked]  # noqa: E731
        values = {**values, first: table(played(METHODS["gtg-shapley"].judge(case), evaluate, known))}
    accuracy, balanced = values["accuracy"], values["balanced-accuracy"]
    assert accuracy[9] < accuracy[:9].min() / 5
    np.testing.assert_allclose(balanced, balanced[0])
