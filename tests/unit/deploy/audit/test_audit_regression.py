"""What follows from group sums over rounds, and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.deploy.audit.habits import from_sketches, from_sums, make_habits
from roughfed.deploy.audit.regression import drawn, equations, names_of, once, solve, static_curve, static_schedules


def values(clients: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 500, size=(clients, 3)).astype(float)


@pytest.mark.parametrize(("clients", "rounds"), [(48, 24), (96, 19)])
def test_redrawn_groups_give_a_static_value_away_after_as_many_equations(clients: int, rounds: int) -> None:
    """n unknowns; the first round gives a sum a group, each later one less, as the groups add up to the same total."""
    curve = static_curve("redrawn", drawn(names_of(clients), every=1, seed=0), values(clients), rounds + 2)
    assert curve.solved_after == rounds
    assert curve.error[rounds - 1] < 1e-6


def test_groups_that_stay_say_nothing_new_until_they_are_redrawn() -> None:
    curve = static_curve("kept", drawn(names_of(32), every=10, seed=0), values(32), 11)
    assert curve.error[:10] == pytest.approx([1.0] * 10)
    assert curve.error[10] < 0.99


def test_churn_discloses_differences() -> None:
    curve = static_curve("churn", drawn(names_of(16), every=10, seed=0, away=0.1), values(16), 60)
    assert curve.error[-1] < 0.5


@given(clients=st.integers(4, 60), seed=st.integers(0, 1000), away=st.sampled_from([0.0, 0.05, 0.3]))
def test_once_a_run_is_never_better_than_guessing(clients: int, seed: int, away: float) -> None:
    """However the groups are drawn and whoever is away: no client is in two sums, so each sum tells its mean alone."""
    names = names_of(clients)
    schedule = once(drawn(names, every=1, seed=seed, away=away))
    matrix = np.concatenate([equations(schedule(number), names) for number in range(1, 16)])
    assert matrix.sum(axis=0).max() <= 1

    curve = static_curve("once", once(drawn(names, every=1, seed=seed, away=away)), values(clients), 15)

    assert min(curve.error) >= 1.0 - 1e-9
    assert curve.solved_after is None


def test_without_the_rule_the_same_schedule_solves_it() -> None:
    """So the test above can fail: what it forbids is what happens."""
    found = {
        name: static_curve(name, schedule, values(32), 40).solved_after
        for name, schedule in static_schedules(32, 0).items()
    }
    assert found["redrawn every round"] is not None
    assert found["once a run"] is None


def test_least_squares_knows_what_follows() -> None:
    matrix = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    truth = np.array([[3.0], [5.0], [7.0], [1.0]])
    found, follows = solve(matrix, matrix @ truth)
    assert follows.tolist() == [True, True, False, False]
    np.testing.assert_allclose(found, [[3], [5], [4], [4]], atol=1e-9)
    nothing, follows = solve(np.zeros((0, 4)), np.zeros((0, 1)))
    assert not follows.any()
    assert nothing.shape == (4, 1)


def test_mean_updates_are_learnt_slowly_and_the_faster_the_more_is_seen() -> None:
    habits = make_habits(24, 128, 0)
    redrawn = from_sums(habits, every=1, rounds=40, seed=0).error
    kept = from_sums(habits, every=10, rounds=40, seed=0).error
    rng = np.random.default_rng(0)
    few, many = (from_sketches(habits[:4], dim=dim, rounds=20, seed=0, entropy=rng.bytes).error[-1] for dim in (16, 64))
    assert redrawn[-1] < kept[-1] < 1.0
    assert many < few < 1.0
