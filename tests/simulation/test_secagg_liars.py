"""One liar at every place, and small coalitions: the table of the gate over the real machines.

A lie that matters is proved in its own round; an honest client is never named, nor left out because of one liar; a lie
costs one void group at most.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roughfed.secagg import messages as m
from roughfed.secagg.server import PROOF_BOUND

from .lies import (
    ALL,
    LIAR,
    LIES,
    SIZES,
    bad_deal,
    bend,
    check,
    false_sigma,
    false_tag,
    lying_round,
    of_norm,
    other_upload,
    victims,
)
from .secagg import make_round


@pytest.mark.parametrize("g", SIZES)
@pytest.mark.parametrize("name", LIES)
def test_a_liar_is_named_in_its_round_and_alone(g: int, name: str) -> None:
    lie, proof, void = LIES[name]
    round_ = lying_round(g, lie, seed=g)
    outcome, _ = round_.play()
    check(round_, outcome)
    assert outcome.proofs == {LIAR: proof}
    assert outcome.noted.keys() <= {LIAR}
    assert (outcome.total is None) == void
    if not void:
        expected = set(round_.names) - (set() if proof == "bad-answer" else {LIAR})
        assert set(outcome.accepted) == expected  # nobody else pays


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("name", LIES)
def test_wider_lanes_change_nothing(bits: int, name: str) -> None:
    lie, proof, _ = LIES[name]
    round_ = lying_round(7, lie, bits=bits)
    outcome, _ = round_.play()
    check(round_, outcome)
    assert outcome.proofs == {LIAR: proof}


@pytest.mark.parametrize("g", SIZES)
def test_an_honest_but_large_update_is_left_out_without_a_proof(g: int) -> None:
    round_ = lying_round(g, other_upload(of_norm(1.72), honest_claim=False), seed=1)
    outcome, group = round_.play()
    check(round_, outcome)
    assert 1.5 < max(group.norms()[LIAR]) <= PROOF_BOUND
    assert (outcome.proofs, LIAR in outcome.accepted) == ({}, False)


@pytest.mark.parametrize("g", SIZES)
@pytest.mark.parametrize("tag", ["pair_tag", "out_tag", "in_tag"])
def test_a_false_tag_costs_that_pair_its_mask_and_nothing_else(g: int, tag: str) -> None:
    round_ = lying_round(g, false_tag(1, tag))
    outcome, group = round_.play()
    check(round_, outcome)
    assert outcome.accepted == round_.names
    assert not group.board.paired(LIAR, victims(round_, 1)[0])


@pytest.mark.parametrize("g", SIZES)
@pytest.mark.parametrize("answers", [True, False])
def test_false_tags_to_all_leave_the_liar_out_alone(g: int, answers: bool) -> None:
    """The others hold the shares of its mask secret, which proves it whether it says something or not."""
    round_ = lying_round(g, false_tag(ALL))
    if not answers:
        tell = round_.tell
        round_.tell = lambda n, msg, s=None: [] if n == LIAR and isinstance(msg, m.Deals) else tell(n, msg, s)
    outcome, group = round_.play()
    check(round_, outcome)
    assert set(outcome.accepted) == set(round_.names) - {LIAR}
    assert (outcome.proofs, LIAR in group.board.pairs) == ({LIAR: "false-tag"}, False)


@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize("g", SIZES)
def test_false_tags_to_all_but_one_leave_nobody_with_a_mask_that_cannot_be_taken_off(g: int, opens: bool) -> None:
    round_ = lying_round(g, false_tag(g - 2))
    if not opens:
        tell = round_.tell
        round_.tell = lambda n, msg, s=None: [] if n == LIAR and isinstance(msg, m.Deals) else tell(n, msg, s)
    outcome, _ = round_.play()
    check(round_, outcome)
    assert set(outcome.accepted) == set(round_.names) - {LIAR}


def test_a_client_that_too_many_cut_off_shows_who_did() -> None:
    """g = 8, t = 6: three liars publish false tags for one honest client; its secret proves all three."""
    round_ = make_round(8, length=4096, dim=64)
    liars = {"c01", "c02", "c03"}

    def to_the_last(shares: m.Shares) -> m.Shares:
        return replace(
            shares, sealed=tuple(replace(s, pair_tag=bytes(32)) if s.holder == "c07" else s for s in shares.sealed)
        )

    for liar in liars:
        bend(round_, "bend_shares", liar, to_the_last)
    outcome, _ = round_.play()
    check(round_, outcome, liars)
    assert outcome.proofs == dict.fromkeys(liars, "false-tag")
    assert outcome.accepted == round_.names[:7]
    np.testing.assert_array_equal(outcome.total, round_.plain_sum(outcome.accepted))


@pytest.mark.parametrize("g", SIZES)
def test_a_bad_deal_of_the_mask_secret_is_named_if_the_secret_is_needed(g: int) -> None:
    round_ = lying_round(g, bad_deal("mask"))
    outcome, _ = round_.play()
    check(round_, outcome)
    assert (outcome.proofs, outcome.accepted) == ({}, round_.names)  # harmless: it was not needed
    round_ = lying_round(g, bad_deal("mask"))
    outcome, _ = round_.play({LIAR: "defence"})
    check(round_, outcome)
    assert outcome.proofs == ({LIAR: "bad-deal"})
    assert outcome.total is None


@pytest.mark.parametrize("g", SIZES)
def test_a_sigma_nobody_disputes_is_held_against_the_key_that_comes_out(g: int) -> None:
    """The peer is lost before it could sign its own: the sketch of the pair is checked with the reconstructed key."""
    round_ = make_round(g, length=4096, dim=64)
    lost = victims(round_, 1)[0]
    round_ = lying_round(g, false_sigma(1), lost={"sketch": {lost}})
    outcome, _ = round_.play()
    check(round_, outcome)
    assert outcome.proofs == {LIAR: "false-pair-sketch"}


@pytest.mark.parametrize("g", [8, 16])
def test_a_dispute_that_nobody_settles_is_settled_by_the_key_that_comes_out(g: int) -> None:
    round_ = lying_round(g, false_sigma(1))
    lost = victims(round_, 1)[0]
    round_.bend_opening = lambda name, signed: None if name in (LIAR, lost) else signed
    outcome, _ = round_.play()
    check(round_, outcome)
    assert outcome.proofs == {LIAR: "false-pair-sketch"}
    assert set(outcome.accepted) == set(round_.names) - {LIAR, lost}
    assert outcome.noted.keys() == {LIAR, lost}


@pytest.mark.parametrize("g", [8, 16])
def test_who_is_gone_before_it_could_open_is_not_left_out_beside_a_proved_liar(g: int) -> None:
    round_ = lying_round(g, false_sigma(3))
    lost = victims(round_, 1)[0]
    round_.bend_opening = lambda name, signed: None if name in (LIAR, lost) else signed
    outcome, _ = round_.play()
    check(round_, outcome)
    assert outcome.proofs == {LIAR: "false-pair-sketch"}
    assert set(outcome.accepted) == set(round_.names) - {LIAR}


@pytest.mark.parametrize("g", [8, 16])
def test_an_opened_key_that_is_none_settles_nothing(g: int) -> None:
    round_ = lying_round(g, false_sigma(1))
    bend(round_, "bend_opening", LIAR, lambda opening: replace(opening, key=bytes(32)))
    outcome, _ = round_.play()
    check(round_, outcome)
    assert outcome.proofs == {LIAR: "false-pair-sketch"}
    assert set(outcome.accepted) == set(round_.names) - {LIAR}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", LIES)
def test_a_liar_is_named_under_every_seed(name: str) -> None:
    lie, proof, _ = LIES[name]
    for seed in range(20):
        for g in SIZES:
            round_ = lying_round(g, lie, seed=100 + seed)
            outcome, _ = round_.play()
            check(round_, outcome)
            assert outcome.proofs == {LIAR: proof}
