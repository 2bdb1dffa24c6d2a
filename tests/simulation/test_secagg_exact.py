"""The unmasked sum is the plain sum, bit for bit, whoever is lost or excluded at whichever stage, or there is none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pytest

from roughfed.crypto import identity
from roughfed.secagg import client, server
from roughfed.secagg.groups import smallest_sum, threshold
from roughfed.secagg.server import Outcome

from .secagg import STAGES, Round, make_round

FATES = ("stays", "rejected", *STAGES[1:])
PLAIN = tuple(fate for fate in FATES if fate != "sketch")
"""Without sketches, to be lost at their stage is to be lost at the next one."""


@pytest.fixture(autouse=True)
def _remember_signatures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same bytes are signed in round after round here: verifying them once is enough."""
    known = lru_cache(maxsize=100_000)(identity.verify)
    monkeypatch.setattr(client, "verify", known)
    monkeypatch.setattr(server, "verify", known)
    yield
    known.cache_clear()


def play(round_: Round, fates: Sequence[str]) -> Outcome:
    """One round in which each client has its fate, held against what must come out."""
    round_.advertise()  # who is in the group
    of = dict(zip(round_.names, fates, strict=False))
    round_.lost = {stage: {n for n, fate in of.items() if fate == stage} for stage in STAGES}
    outcome, group = round_.play({n: "defence" for n, fate in of.items() if fate == "rejected"})
    g, dim = len(of), round_.terms.dim
    alive = {stage: {n for n in of if round_.here(n, stage)} for stage in STAGES}
    contributed = alive["sketch" if dim else "masked_input"]
    accepted = tuple(sorted(n for n in contributed if of[n] != "rejected"))
    answers = len(alive["unmask"])
    answered = {n for n, machine in round_.clients.items() if machine.state.name == "ANSWERED"}
    assert outcome.proofs == {}
    lost = {n for n, fate in of.items() if fate in STAGES}
    assert outcome.total is None or outcome.noted.keys() == lost
    if len(alive["share"]) < threshold(g) or len(accepted) < smallest_sum(g):
        assert (outcome.total, outcome.void, answered) == (None, "too-few-accepted", set())
    elif len(alive["consistency"]) < threshold(g):
        assert (outcome.total, outcome.void, answered) == (None, "too-few-answers", set())
    elif answers < threshold(g):
        assert (outcome.total, outcome.void) == (None, "too-few-answers")
    else:
        assert (outcome.void, outcome.accepted) == ("", accepted)
        assert outcome.total is not None
        np.testing.assert_array_equal(outcome.total, round_.plain_sum(accepted))
    assert set(round_.refused) <= (of.keys() if len(alive["share"]) < threshold(g) else set())
    assert group.stage.name == "DONE"
    return outcome


@pytest.mark.parametrize("g", [4, 5])
@pytest.mark.parametrize("dim", [0, 16])
def test_every_pattern_up_to_the_order_of_the_clients(g: int, dim: int) -> None:
    rng = np.random.default_rng(g)
    sums = 0
    for fates in itertools.combinations_with_replacement(FATES if dim else PLAIN, g):
        shuffled = [fates[i] for i in rng.permutation(g)]
        sums += play(make_round(g, length=96, dim=dim), shuffled).total is not None
    assert sums >= 3


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("g", [4, 5])
def test_every_pattern(g: int) -> None:
    for fates in itertools.product(FATES, repeat=g):
        play(make_round(g, length=96, dim=16), fates)


def seeded_patterns(g: int, count: int, bits: int) -> int:
    sums = 0
    for seed in range(count):
        rng = np.random.default_rng([g, seed])
        gone = rng.random() * 0.5
        chances = [1 - gone, gone / 2, *[gone / 10] * 5]
        fates = [FATES[i] for i in rng.choice(len(FATES), size=g, p=chances)]
        sums += (
            play(make_round(g, seed=seed, bits=bits, length=200 + seed, dim=(16, 0)[seed % 4 == 3]), fates).total
            is not None
        )
    return sums


@pytest.mark.parametrize(
    ("g", "bits", "count"), [(7, 8, 8), (10, 16, 6), (16, 8, 5), (16, 32, 4), (20, 8, 2), (32, 16, 1)]
)
def test_seeded_patterns_of_larger_groups(g: int, bits: int, count: int) -> None:
    assert seeded_patterns(g, count, bits) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("g", [6, 8, 13, 16, 24, 32, 64])
def test_more_seeded_patterns(g: int, bits: int) -> None:
    assert seeded_patterns(g, 200 // g + 2, bits) > 0


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("highest", [False, True])
def test_the_ends_of_the_range_are_exact(bits: int, highest: bool) -> None:
    """All codes 0, and all L - 1 at the lanes' capacity. No honest update looks so: without sketches nobody objects."""
    round_ = make_round(5, bits=bits, length=64, dim=0)
    value = round_.terms.levels - 1 if highest else 0
    assert 5 * (round_.terms.levels - 1) < 2**bits
    for name in round_.names:
        round_.codes[name][:] = value
    outcome = play(round_, ["stays"] * 5)
    assert outcome.total is not None
    assert set(outcome.total.tolist()) == {5 * value}


def test_an_update_at_the_end_of_the_range_is_over_the_bound() -> None:
    round_ = make_round(8, length=4096, dim=64)
    round_.codes["c03"][:] = 0
    outcome, _ = round_.play()
    assert outcome.proofs == {"c03": "over-bound"}
    assert outcome.total is not None
    np.testing.assert_array_equal(outcome.total, round_.plain_sum(set(round_.names) - {"c03"}))
