"""The two numbers: what may be lost, excluded or silent, counted by hand, played by the machines, and by chance."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from math import comb

import numpy as np
import pytest

from roughfed.crypto import identity
from roughfed.secagg import client, server
from roughfed.secagg.groups import smallest_sum, threshold
from roughfed.secagg.server import Outcome

from .secagg import make_round

FATES = ("stays", "lost", "excluded", "silent")
STAGE = {"lost": "masked_input", "silent": "unmask"}


@pytest.fixture(autouse=True)
def _remember_signatures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same bytes are signed in round after round here: verifying them once is enough."""
    known = lru_cache(maxsize=100_000)(identity.verify)
    monkeypatch.setattr(client, "verify", known)
    monkeypatch.setattr(server, "verify", known)
    yield
    known.cache_clear()


def void_because(g: int, fates: Mapping[str, int]) -> str:
    """Why a group with so many of each fate is void; "" when it is not. This is the whole rule."""
    if fates.get("stays", 0) + fates.get("silent", 0) < smallest_sum(g):
        return "too-few-accepted"
    return "too-few-answers" if g - fates.get("lost", 0) - fates.get("silent", 0) < threshold(g) else ""


def play(fates: Iterable[str], *, dim: int = 16, seed: int = 0) -> Outcome:
    of = list(fates)
    round_ = make_round(len(of), seed=seed, length=96, dim=dim)
    round_.advertise()
    names = dict(zip(round_.names, of, strict=True))
    round_.lost = {stage: {n for n, fate in names.items() if fate == kind} for kind, stage in STAGE.items()}
    outcome, _ = round_.play({n: "defence" for n, fate in names.items() if fate == "excluded"})
    answered = sum(machine.state.name == "ANSWERED" for machine in round_.clients.values())
    why = void_because(len(of), Counter(of))
    assert (outcome.void, outcome.proofs, round_.refused) == (why, {}, {})
    if why == "too-few-accepted":
        assert answered == 0  # nobody was asked to unmask
    elif not why:
        assert outcome.accepted == tuple(n for n, fate in names.items() if fate in ("stays", "silent"))
        np.testing.assert_array_equal(outcome.total, round_.plain_sum(outcome.accepted))
    return outcome


@pytest.mark.parametrize("lost_before", ["masked_input", "consistency", "unmask"])
def test_nobody_is_called_silent_who_was_never_asked(lost_before: str) -> None:
    round_ = make_round(10, length=96, dim=16)
    gone = set(round_.names[:4])  # 6 of the 7 answers that are needed can still come
    round_.lost = {lost_before: gone}
    outcome, _ = round_.play()

    assert outcome.void == "too-few-answers"
    assert {name for name, what in outcome.noted.items() if what == "silent at unmask"} == (
        gone if lost_before == "unmask" else set()
    )
    assert outcome.noted.keys() == gone


@pytest.mark.parametrize("g", [4, 5, 6])
def test_every_count_of_lost_excluded_and_silent(g: int) -> None:
    """Protocol test 6, up to who it is."""
    rng = np.random.default_rng(g)
    sums = sum(
        play(fates[i] for i in rng.permutation(g)).total is not None
        for fates in itertools.combinations_with_replacement(FATES, g)
    )
    assert sums == {4: 2, 5: 5, 6: 8}[g]  # counted by hand


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("g", [4, 5, 6])
def test_every_pattern_of_lost_excluded_and_silent(g: int) -> None:
    """Protocol test 6: all 4^g of them."""
    for fates in itertools.product(FATES, repeat=g):
        play(fates)


@pytest.mark.parametrize("g", [7, 8, 10, 16])
def test_one_below_each_number_is_void_and_the_number_itself_is_not(g: int) -> None:
    most_gone, most_out = g - threshold(g), g - smallest_sum(g)
    for kind, most in (("lost", most_gone), ("silent", most_gone), ("excluded", most_out)):
        assert play([kind] * most + ["stays"] * (g - most)).total is not None
        assert play([kind] * (most + 1) + ["stays"] * (g - most - 1)).total is None


# -- by chance --------------------------------------------------------------------------------------------------------


def tail(g: int, chance: float, most: int) -> float:
    """P(more than `most` of g), each with the same chance by itself."""
    return sum(comb(g, k) * chance**k * (1 - chance) ** (g - k) for k in range(most + 1, g + 1))


def drawn(g: int, rounds: int, *, seed: int) -> np.ndarray:
    """Fates, indices into FATES, int [rounds, g]: 10 % are lost (half of them silent), 20 % of the others excluded."""
    rng = np.random.default_rng(seed)
    return rng.choice(len(FATES), size=(rounds, g), p=[0.72, 0.05, 0.18, 0.05])


def counted(fates: np.ndarray) -> list[np.ndarray]:
    """How many of each fate; int [rounds] each."""
    return [(fates == k).sum(axis=1) for k in range(len(FATES))]


def test_the_share_of_void_groups_is_what_was_computed() -> None:
    """g = 16, 10 % lost: too few answers in 0.33 %; with 20 % of the others excluded, too few to sum in 1.6 %."""
    g = 16
    stay, lost, _, silent = counted(drawn(g, 400_000, seed=1))
    few_answers, few_left = g - lost - silent < threshold(g), stay < smallest_sum(g)
    assert float(few_answers.mean()) == pytest.approx(0.0033, rel=0.2)
    assert float(few_left.mean()) == pytest.approx(0.016, rel=0.2)
    assert float(few_answers.mean()) == pytest.approx(tail(g, 0.1, g - threshold(g)), rel=0.1)
    assert float(few_left.mean()) == pytest.approx(tail(g, 0.28, g - smallest_sum(g)), rel=0.05)


def test_groups_of_which_a_fifth_is_excluded_are_void_in_a_third_of_a_percent() -> None:
    """A share of each group, 3 of 16, costs nothing beyond the lost: 16 - 3 - 5 accepted are enough."""
    g, rng = 16, np.random.default_rng(4)
    gone = rng.binomial(g - 3, 0.1, size=400_000) + rng.binomial(3, 0.1, size=400_000)  # the excluded are lost, too
    void = np.array([bool(void_because(g, {"stays": g - 3 - k, "excluded": 3, "lost": k})) for k in range(g - 2)])
    share = float(void[np.minimum(gone, g - 3)].mean())
    assert share == pytest.approx(0.0033, rel=0.2)
    assert share <= 0.01


def played(rounds: int, seed: int) -> int:
    """Groups of 16 over the machines, whose outcome is held against the rule; how many are void."""
    fates = drawn(16, rounds, seed=seed)
    return sum(play([FATES[k] for k in row], seed=i % 4).total is None for i, row in enumerate(fates))


def test_the_machines_follow_the_rule_on_a_sample() -> None:
    assert played(6, seed=2) <= 2


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_machines_follow_the_rule_on_a_large_sample() -> None:
    void = played(600, seed=3)
    assert void <= 24  # 0.3 % + 0.5 % expected: who is silent is in the sum


def test_shares_of_void_groups_of_other_sizes() -> None:
    """research/protocol.md S4: 10 % lost alone."""
    for g, share in ((16, 0.0033), (10, 0.013), (8, 0.038)):
        assert tail(g, 0.1, g - threshold(g)) == pytest.approx(share, rel=0.05)
