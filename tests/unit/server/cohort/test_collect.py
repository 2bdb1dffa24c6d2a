"""When a round closes: a table of the machine, and thousands of seeded rounds against its laws."""

import itertools
import random

import pytest

from roughfed.server.cohort.collection import LONGEST_GRACE_S, REJOIN_GRACE_S, Collection, rejoin_grace

ABCD = frozenset("abcd")
DEADLINE = 100.0


def collection(
    *, received: str = "", refused: str = "", gone: dict[str, float] | None = None, **changes: int
) -> Collection:
    settings = {"goal": 4, "quorum": 2} | changes
    made = Collection(ABCD, settings["goal"], settings["quorum"], DEADLINE)
    for client in received:
        made.receive(client, 0.0)
    for client in refused:
        made.refuse(client, "why")
    for client, at in (gone or {}).items():
        made.lost([client], at)
    return made


TABLE = {
    "nobody yet": (collection(), 0, "wait", "4 pending"),
    "the goal": (collection(received="abcd"), 0, "close", "goal"),
    "a smaller goal": (collection(received="ab", goal=2), 0, "close", "goal"),
    "a goal below the quorum": (collection(received="ab", goal=1, quorum=3), 0, "wait", "2 pending"),
    "a goal of one, a quorum of two": (collection(received="ab", goal=1, quorum=2), 0, "close", "goal"),
    "quorum, others may come": (collection(received="ab"), 0, "wait", "2 pending"),
    "quorum at the deadline": (collection(received="ab"), DEADLINE, "close", "deadline"),
    "too few at the deadline": (collection(received="a"), DEADLINE, "abandon", "deadline"),
    "nobody at the deadline": (collection(), DEADLINE + 1, "abandon", "deadline"),
    "everyone answered": (collection(received="ab", refused="cd"), 0, "close", "everyone answered"),
    "everyone refused": (collection(refused="abcd"), 0, "abandon", "too-few-updates"),
    "one counted, all others refused": (collection(received="a", refused="bcd"), 0, "abandon", "too-few-updates"),
    "the quorum is out of reach": (collection(refused="bcd"), 0, "abandon", "too-few-updates"),
    "the rest is gone": (collection(received="ab", gone={"c": 0, "d": 1}), 3, "close", "the rest is gone"),
    "the rest may be back": (collection(received="ab", gone={"c": 0, "d": 1}), 2, "wait", "2 pending"),
    "gone, but needed": (collection(received="a", gone=dict.fromkeys("bcd", 0.0)), 50, "wait", "3 pending"),
    "one is gone, one is at work": (collection(received="ab", gone={"c": 0}), 50, "wait", "2 pending"),
    "refused and received": (collection(refused="a", received="ab"), 0, "wait", "2 pending"),
}  # fmt: skip


@pytest.mark.parametrize(("state", "now", "action", "reason"), TABLE.values(), ids=TABLE.keys())
def test_the_table(state: Collection, now: float, action: str, reason: str) -> None:
    decision = state.decide(now)
    assert (decision.action, decision.reason) == (action, reason)


def test_a_client_that_is_back_is_waited_for_again() -> None:
    state = collection(received="ab", gone={"c": 0, "d": 0})
    state.back("c")
    assert state.decide(50).action == "wait"
    state.lost(["c"], 60)
    assert state.decide(60).until == 60 + LONGEST_GRACE_S
    assert state.decide(60 + LONGEST_GRACE_S).reason == "the rest is gone"


def test_who_is_lost_in_a_long_round_has_longer_to_come_back() -> None:
    assert rejoin_grace(0) == rejoin_grace(8) == REJOIN_GRACE_S
    assert rejoin_grace(20) == 5
    assert rejoin_grace(3600) == LONGEST_GRACE_S
    state = Collection(ABCD, goal=4, quorum=2, deadline=DEADLINE, opened=20)
    for client in "ab":
        state.receive(client, 30)
    state.lost("c", 40)
    state.lost("d", 21)
    assert (state.decide(44).action, state.decide(45).action) == ("wait", "close")


def test_strangers_change_nothing() -> None:
    state = collection(received="ab", goal=3)
    state.receive("stranger", 0.0)
    state.refuse("stranger", "why")
    state.lost(["stranger"], 0)
    assert state.decide(0).action == "wait"
    assert state.pending() == {"c", "d"}


def test_a_receipt_is_never_taken_back_and_the_first_reason_stays() -> None:
    state = collection(received="a", refused="b")
    state.refuse("a", "revoked")
    state.refuse("b", "another reason")
    assert (state.received, state.refused) == ({"a"}, {"b": "why"})


EVENTS = ("receive", "refuse", "lost", "back")


def apply(state: Collection, event: str, client: str, now: float) -> None:
    match event:
        case "receive":
            state.receive(client, now)
        case "refuse":
            state.refuse(client, "why")
        case "lost":
            state.lost([client], now)
        case _:
            state.back(client)


def play(rng: random.Random) -> None:
    """One round with random events; the adapter asks after each event and when it was told to."""
    names = [f"c{i}" for i in range(rng.randint(1, 8))]
    goal = rng.randint(1, len(names))
    quorum = rng.randint(1, len(names))
    state = Collection(frozenset(names), goal, quorum, DEADLINE)
    events = sorted(
        (rng.choice([rng.uniform(0, 1.5 * DEADLINE), float(rng.randint(0, 20))]), rng.choice(EVENTS), rng.choice(names))
        for _ in range(rng.randint(0, 30))
    )
    now, asked = 0.0, 0
    while (decision := state.decide(now)).action == "wait":
        asked += 1
        assert now < decision.until <= DEADLINE  # a timer that moves on, and never beyond the deadline
        assert state.pending()  # somebody is waited for
        assert len(state.received) < max(goal, quorum)
        enough = len(state.received) >= quorum
        assert not enough or any(state.gone.get(name, DEADLINE) > now for name in state.pending())
        if events and events[0][0] <= decision.until:
            moment, event, client = events.pop(0)
            now = max(now, moment)
            apply(state, event, client, now)
        else:
            now = decision.until
    assert now <= DEADLINE
    assert asked <= 31 + len(names) + 30  # no busy loop
    counted = len(state.received)
    assert decision.action == ("close" if counted >= quorum else "abandon")
    assert decision.reason != "goal" or counted >= goal
    assert not state.pending() & (state.received | state.refused.keys())


def test_thousands_of_rounds_keep_the_laws() -> None:
    for seed in range(4000):
        play(random.Random(seed))


def test_the_order_of_simultaneous_events_does_not_matter() -> None:
    """Of different clients, that is: one client's own events have an order."""
    for seed in range(300):
        rng = random.Random(seed)
        events = [(rng.choice(EVENTS), client) for client in "abcd"]
        moment = rng.choice([0.0, 5.0, DEADLINE])
        outcomes = set()
        for order in itertools.permutations(events):
            state = Collection(ABCD, seed % 4 + 1, seed % 3 + 1, DEADLINE)
            for event, client in order:
                apply(state, event, client, moment)
            outcomes.add((state.decide(moment), state.decide(moment + REJOIN_GRACE_S)))
        assert len(outcomes) == 1
