"""How long a round waits for the rest: a table of runs on the pure machine, with clients of given speeds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

import pytest

from roughfed.server.cohort.collection import LEFT_BEHIND, Collection
from roughfed.server.cohort.response_times import FLOOR_S, REMEMBERED, STRETCH, Habits

DEADLINE_S = 10_000.0
PATIENCE = 1.25


def play(
    habits: Habits,
    seconds: Mapping[str, float],
    *,
    quorum: float = 0.8,
    patience: float = PATIENCE,
) -> Collection:
    """One round of clients that take so long; the machine is asked after each event and when it wants to be."""
    members, opened = frozenset(seconds), 50.0
    needed = math.ceil(quorum * len(members) - 1e-9)
    state = Collection(
        members, len(members), needed, opened + DEADLINE_S, opened=opened, patience=habits.patience(patience)
    )
    events = sorted((opened + took, name) for name, took in seconds.items())
    now = opened
    while (decision := state.decide(now)).action == "wait":
        if events and events[0][0] <= decision.until:
            now, name = events.pop(0)
            state.receive(name, now)
        else:
            now = decision.until
    assert decision.action == "close"
    state.ended = decision.reason
    habits.note(state, now)
    return state


def cost(state: Collection, seconds: Mapping[str, float]) -> float:
    """How long it took, in units of the time of those who are not left behind."""
    closed = max(state.arrived.values()) if state.ended != LEFT_BEHIND else None
    times = [state.waits_for(name) for name in state.pending()]
    return ((max(times) if closed is None else closed) - state.opened) / max(seconds[n] for n in state.received)


def crowd(fast: int = 8, took: float = 20.0, **others: float) -> dict[str, float]:
    return {f"f{i}": took * (1 + 0.01 * i) for i in range(fast)} | others


@pytest.mark.parametrize("times", [4.0, 10.0, 100.0])
def test_stragglers_cost_one_round_thrice_its_time_and_then_no_more_than_patience(times: float) -> None:
    habits, seconds = Habits(), crowd(a=20 * times, b=20 * times)
    costs = []
    for _ in range(8):
        state = play(habits, seconds)
        assert state.pending() == {"a", "b"}
        assert state.ended == LEFT_BEHIND
        costs.append(cost(state, seconds))
    assert costs[0] == pytest.approx(STRETCH)
    assert max(costs[1:]) <= PATIENCE * (1 + 1e-9)


@pytest.mark.parametrize("times", [1.0, 1.2, 2.0, 2.9])
def test_who_is_slower_but_not_much_counts_in_every_round(times: float) -> None:
    habits, seconds = Habits(), crowd(a=20 * times, b=20 * times)
    for _ in range(8):
        assert not play(habits, seconds).pending()


def test_a_client_that_becomes_slower_is_left_behind_at_first_and_then_waited_for() -> None:
    habits = Habits()
    for _ in range(REMEMBERED + 2):
        assert not play(habits, crowd(a=20, b=20)).pending()
    slower = crowd(a=36, b=20)
    assert play(habits, slower).pending() == {"a"}
    for _ in range(4):
        assert not play(habits, slower).pending()


def test_a_straggler_that_is_as_fast_as_the_rest_again_counts_again_at_once() -> None:
    habits = Habits()
    for _ in range(4):
        assert play(habits, crowd(a=200, b=20)).pending() == {"a"}
    for _ in range(4):
        assert not play(habits, crowd(a=24, b=20)).pending()


def test_one_fast_round_cuts_nobody() -> None:
    """The quorum of a round may be there at once (nothing to evaluate, data in the cache); the rest is as always."""
    habits = Habits()
    for _ in range(3):
        assert not play(habits, crowd(a=22, b=22)).pending()
    assert not play(habits, crowd(took=2, a=22, b=22)).pending()


def test_a_first_round_that_takes_long_does_not_hold_up_the_second() -> None:
    habits = Habits()
    play(habits, crowd(took=200, a=4000, b=4000))
    seconds = crowd(took=20, a=4000, b=4000)
    assert cost(play(habits, seconds), seconds) <= PATIENCE * (1 + 1e-9)


def test_stragglers_that_a_long_first_round_hid_are_known_after_the_second() -> None:
    habits = Habits()
    assert not play(habits, crowd(took=25, a=70, b=70)).pending()  # of which 19 are spent on what comes only once
    seconds = crowd(took=6, a=60, b=60)
    costs = [cost(play(habits, seconds), seconds) for _ in range(4)]
    assert costs[0] <= STRETCH * (1 + 1e-9)
    assert max(costs[1:]) <= PATIENCE * (1 + 1e-9)


def test_short_rounds_are_not_cut_by_chance() -> None:
    habits = Habits()
    for late in (0.1, 1.0, 4.9):
        assert not play(habits, crowd(took=0.1, a=late, b=late)).pending()
    state = play(habits, crowd(took=0.1, a=60, b=60))
    assert state.waits_for("a") - state.opened == FLOOR_S


@pytest.mark.parametrize(("quorum", "patience"), [(0.8, 0.0), (1.0, PATIENCE)])
def test_without_patience_or_with_everybody_needed_all_are_waited_for(quorum: float, patience: float) -> None:
    habits = Habits()
    for _ in range(3):
        assert not play(habits, crowd(a=2000, b=4000), quorum=quorum, patience=patience).pending()


def test_a_round_is_never_longer_than_it_would_be_without_patience_nor_shorter_than_its_quorum() -> None:
    rng = random.Random(0)
    for _ in range(300):
        habits, count = Habits(), rng.randint(1, 8)
        speeds: list[Callable[[], float]] = [lambda: rng.uniform(1, 100), lambda: rng.choice([10.0, 12.0, 400.0])]
        for _ in range(6):
            seconds = {f"c{i}": rng.choice(speeds)() for i in range(count)}
            patience = rng.choice([1.0, 1.25, 2.0, 5.0])
            state = play(habits, seconds, quorum=rng.choice([0.3, 0.8, 1.0]), patience=patience)
            in_order = sorted(seconds, key=lambda name: (seconds[name], name))
            assert state.received == set(in_order[: len(state.received)])
            assert len(state.received) >= state.quorum
            for name in state.pending():
                left = state.waits_for(name) - state.opened
                assert left <= seconds[name]
                assert left >= FLOOR_S
                assert left >= patience * seconds[in_order[state.quorum - 1]] * (1 - 1e-9)


def test_a_group_that_would_be_void_is_waited_for_longer_but_not_for_ever() -> None:
    habits, seconds = Habits(), crowd(a=200, b=200)
    for _ in range(3):
        play(habits, seconds)
    state = Collection(
        frozenset(seconds), 10, 8, DEADLINE_S, patience=habits.patience(PATIENCE),
        groups=[(frozenset({"a", "b", "f0", "f1"}), 4), (frozenset(f"f{i}" for i in range(2, 8)), 4)],
    )  # fmt: skip
    for i in range(8):
        state.receive(f"f{i}", 20.0)
    assert state.decide(25.0).action == "wait"
    assert state.decide(65.0).reason == LEFT_BEHIND
    state.receive("a", 30.0)
    state.receive("b", 30.0)
    assert state.decide(30.0).reason == "goal"
