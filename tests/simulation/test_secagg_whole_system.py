"""Whole rounds of several groups over the machines, with losses, delays, repeats and liars, seed after seed.

Every sum is exact, an honest client is never named, and a group that cannot finish does not stop the others.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from roughfed.errors import RemoteProtocolError
from roughfed.secagg.groups import colluders
from roughfed.secagg.server import Stage

from .federation import Federation, Post, lose, make_federation
from .lies import LIES, check
from .test_secagg_coalitions import random_lies

SMALL = (5, 7, 8, 12, 21)
LARGE = (6, 8, 16, 21, 24, 33, 48)


def tell_lies(federation: Federation, rng: np.random.Generator) -> list[set[str]]:
    """In each group: nobody, one liar of any kind, or several with lies that go together."""
    found: list[set[str]] = []
    for round_ in federation.rounds:
        many = int(rng.integers(0, colluders(len(round_.names)) + 1))
        liars = [str(n) for n in rng.choice(round_.names, size=many, replace=False)]
        if len(liars) == 1:
            LIES[list(LIES)[int(rng.integers(len(LIES)))]][0](round_, liars[0])
        elif liars:
            random_lies(round_, rng, liars)
        found.append(set(liars))
    return found


def simulate(rounds: int, sizes: tuple[int, ...], *, first: int = 0) -> Counter[str]:
    """Play seeded rounds and hold what holds; counts what happened."""
    seen: Counter[str] = Counter()
    for seed in range(first, first + rounds):
        rng = np.random.default_rng([11, seed])
        size = sizes[seed % len(sizes)]
        quiet = rng.random() < 0.3
        post = Post(rng, late=0.0 if quiet else 0.02, twice=0.1)
        bits = (8, 8, 16, 32)[seed % 4]
        federation = make_federation([f"c{i:02d}" for i in range(size)], seed=seed, bits=bits, post=post)
        lose(federation, rng, 0.0 if quiet else 0.04)
        liars = tell_lies(federation, rng)
        federation.rejected = {f"c{i:02d}": "defence" for i in range(size) if rng.random() < 0.05}
        outcomes = federation.play()
        for round_, group, outcome, lying in zip(federation.rounds, federation.groups, outcomes, liars, strict=True):
            if len(group.dealers) < group.threshold:  # then every member rightly refuses the deals
                assert {getattr(error, "reason", "") for error in round_.refused.values()} <= {"too-few"}
                round_.refused.clear()
            check(round_, outcome, lying)
            assert group.stage is Stage.DONE
            assert not set(outcome.accepted) & federation.rejected.keys()
            honest = round_.turned_away.keys() - lying
            assert all(isinstance(round_.turned_away[n], RemoteProtocolError) for n in honest)
            seen["sums" if outcome.total is not None else "void"] += 1
            seen["named"] += len(outcome.proofs)
            seen["liars"] += len(lying)
        seen["late"] += post.refused
    return seen


def test_seeded_rounds_of_several_groups() -> None:
    seen = simulate(50, SMALL)
    assert min(seen[what] for what in ("sums", "void", "named", "late")) > 0
    assert seen["sums"] > 0.5 * seen["void"]
    assert seen["named"] > 0.5 * seen["liars"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thousands_of_seeded_rounds() -> None:
    seen = simulate(2000, LARGE, first=1000)
    assert seen["sums"] > seen["void"]  # 2463 and 1821: up to c liars in every group, 4 % lost, 2 % of messages late
    assert seen["named"] > 0.5 * seen["liars"]


@pytest.mark.parametrize("size", [21, 33])
def test_a_void_group_leaves_the_others_alone(size: int) -> None:
    federation = make_federation([f"c{i:02d}" for i in range(size)], seed=size)
    federation.rounds[1].lost = {"unmask": set(federation.rounds[1].names)}
    outcomes = federation.play()
    assert [o.void for o in outcomes] == ["", "too-few-answers", *[""] * (len(outcomes) - 2)]
    for round_, outcome in zip(federation.rounds, outcomes, strict=True):
        check(round_, outcome, ())


def test_honest_rounds_are_whole_whatever_is_repeated() -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        federation = make_federation([f"c{i:02d}" for i in range(21)], seed=seed, post=Post(rng, twice=0.5))
        for round_, outcome in zip(federation.rounds, federation.play(), strict=True):
            assert (outcome.accepted, outcome.proofs, outcome.noted) == (round_.names, {}, {})
            np.testing.assert_array_equal(outcome.total, round_.plain_sum(outcome.accepted))
