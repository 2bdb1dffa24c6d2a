"""Secure statistics behind the codes: no lie about them reaches the model, and static ones are given once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from roughfed.crypto.masks import Lanes
from roughfed.secagg.client import ClientRound, Gives
from roughfed.secagg.groups import contributors, form_groups
from roughfed.secagg.roster import make_cohort
from roughfed.secagg.statistics import KINDS, Statistic, decode_sum, encode, read_statistics, tail_lanes
from roughfed.secagg.terms import Party

from .secagg import Round, StageWire, identity, make_round, open_entry

TEXTS = ("class-count:10", "eval-loss:1", "evaluated:1", "norm-histogram:32")
LIAR = "c01"


def with_tail(size: int = 7, *, dim: int = 32) -> tuple[Round, tuple[Statistic, ...], dict[str, np.ndarray]]:
    """An honest round whose clients give seeded statistics; their codes for the model alone."""
    plain = make_round(size, length=1024, dim=dim)
    statistics = read_statistics(TEXTS, plain.terms.levels)
    terms = replace(plain.terms, tail=tail_lanes(statistics))
    codes: dict[str, np.ndarray] = {}
    for i, (name, own) in enumerate(plain.codes.items()):
        values = {"class-count": [i * 10 + c for c in range(10)], "eval-loss": [1000 + i], "evaluated": [1]}
        tail = encode(values, statistics, levels=terms.levels, dtype=terms.dtype)
        codes[name] = np.concatenate([own, tail])
    return replace(plain, terms=terms, codes=codes), statistics, {n: c[:1024] for n, c in codes.items()}


def test_sums_of_statistics_are_exact() -> None:
    round_, statistics, codes = with_tail()
    outcome, _ = round_.play({"c03": "defence"})
    assert outcome.total is not None
    order = sorted(codes)
    np.testing.assert_array_equal(outcome.total, sum(codes[n].astype(np.int64) for n in outcome.accepted))
    sums, cut = decode_sum(outcome.tail, len(outcome.accepted), statistics, levels=round_.terms.levels)
    at = [i for i, name in enumerate(order) if name in outcome.accepted]
    assert sums["class-count"] == tuple(sum(i * 10 + c for i in at) for c in range(10))
    assert sums["eval-loss"] == (sum(1000 + i for i in at),)
    assert (sums["evaluated"], sums["norm-histogram"], cut) == ((6,), (0,) * 32, 0)


ATTACKS: dict[str, Callable[[Lanes], Any]] = {
    "everything at the top": lambda tail: 255,
    "minus one": lambda tail: tail - 1,
    "minus what the others give": lambda tail: -7 * tail.astype(np.int64),
    "half of the range": lambda tail: 128,
    "noise": lambda tail: np.random.default_rng(0).integers(0, 256, len(tail)),
}


@pytest.mark.parametrize("dim", [0, 32])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_lie_about_statistics_moves_the_sum_of_the_model(name: str, dim: int) -> None:
    """Protocol test 3: the codes stay exact; what is cut stays within what the group could give."""
    round_, statistics, codes = with_tail(dim=dim)

    def lie(client: str, lanes: Lanes) -> Lanes:
        if client == LIAR:
            tail = lanes[1024:]
            made = np.broadcast_to(ATTACKS[name](tail), tail.shape).astype(np.int64) % 256
            tail += made.astype(lanes.dtype)
        return lanes

    round_.bend_lanes = lie
    outcome, _ = round_.play()
    assert (outcome.accepted, outcome.proofs) == (round_.names, {})
    np.testing.assert_array_equal(outcome.total, sum(codes[n].astype(np.int64) for n in outcome.accepted))
    sums, _ = decode_sum(outcome.tail, len(outcome.accepted), statistics, levels=round_.terms.levels)
    for statistic in statistics:
        most = len(outcome.accepted) * KINDS[statistic.name].largest
        assert all(0 <= value <= most for value in sums[statistic.name])


@pytest.mark.parametrize("without", [0, 1, 7])
def test_static_statistics_count_only_where_the_whole_group_gives_them(without: int) -> None:
    """Protocol test 8: one that gave them already, or one alone that has not, keeps everybody's zero."""
    round_ = make_round(7, length=64, dim=0)
    for at, name in enumerate(round_.names):
        party = Party(name, identity(name).sign, open_entry, StageWire())
        round_.clients[name] = ClientRound(
            round_.terms, party, bytes([at]) * 32, round_.policy, gives=Gives(at >= without)
        )
    round_.cohort = make_cohort([machine.advert for machine in round_.clients.values()])
    roster = round_.roster(round_.advertise())
    for name in round_.names:
        round_.tell(name, roster)
    assert round_.refused == {}
    assert {machine.counts.statics for machine in round_.clients.values()} == {without == 0}


@pytest.mark.parametrize("size", [4, 7, 16])
@pytest.mark.parametrize("short", [0, 1])
def test_evaluations_count_only_where_every_sum_has_four_of_them(size: int, short: int) -> None:
    """One client with held-out data among others without would be seen in the sum."""
    promising = contributors(size) - short
    round_ = make_round(size, length=64, dim=0)
    for at, name in enumerate(round_.names):
        party = Party(name, identity(name).sign, open_entry, StageWire())
        gives = Gives(evaluation=at < promising)
        round_.clients[name] = ClientRound(round_.terms, party, bytes([at]) * 32, round_.policy, gives=gives)
    round_.cohort = make_cohort([machine.advert for machine in round_.clients.values()])
    roster = round_.roster(round_.advertise())
    for name in round_.names:
        round_.tell(name, roster)
    assert round_.refused == {}
    assert {machine.counts.evaluation for machine in round_.clients.values()} == {short == 0}


def solved(counts: np.ndarray, rows: list[np.ndarray]) -> float:
    """Root mean square error of the least-squares solution from sums over groups, in units of a blind guess's."""
    membership = np.array(rows)  # [sums, n]
    guess = np.full(len(counts), counts.mean())
    found = guess + np.linalg.lstsq(membership, membership @ (counts - guess), rcond=None)[0]
    return float(np.sqrt(np.mean((found - counts) ** 2)) / np.sqrt(np.mean((guess - counts) ** 2)))


@pytest.mark.parametrize("clients", [21, 32, 48])
def test_given_once_statics_stay_a_guess_and_given_always_they_are_solved(clients: int) -> None:
    """The regression over rounds (S5): group sums redrawn in every round give every client away, once they do not."""
    names = [f"c{i:02d}" for i in range(clients)]
    counts = np.random.default_rng(clients).integers(10, 1000, clients).astype(float)
    drawn = (members for at in range(40) for members in form_groups(names, bytes([at]) * 32))
    rows = [np.array([float(name in members) for name in names]) for members in drawn]
    groups = len(form_groups(names, bytes(32)))
    assert solved(counts, rows) < 1e-6
    assert solved(counts, rows[:groups]) > 0.8
