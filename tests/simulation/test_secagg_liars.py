"""One liar at every place, and small coalitions: the table of the gate over the real machines.

A lie that matters is proved in its own round; an honest client is never named, nor left out because of one liar; a lie
costs one void group at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from roughfed.crypto.masks import Lanes, add_mask
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound
from roughfed.secagg.dealing import deal
from roughfed.secagg.groups import colluders, smallest_sum
from roughfed.secagg.server import PROOF_BOUND, Outcome
from roughfed.types import Signed
from roughfed.wire.secagg import decode_stage

from .secagg import Round, make_round

LIAR = "c01"
ALL = 99
SIZES = (5, 8, 16)
Lie = Callable[[Round, str], None]


def victims(round_: Round, count: int, liar: str = LIAR) -> list[str]:
    return [name for name in round_.names if name != liar][-count:]


def bend(round_: Round, what: str, liar: str, change: Callable[[Any], Any]) -> None:
    """Have the liar's message of one kind changed before it is signed; several changes of one kind add up."""
    kind, domain = {
        "bend_shares": (m.Shares, m.SHARES_DOMAIN),
        "bend_sketch": (m.Sketch, m.SKETCH_DOMAIN),
        "bend_unmask": (m.Unmask, m.UNMASK_DOMAIN),
        "bend_opening": (m.Opening, m.OPENING_DOMAIN),
    }[what]
    before = getattr(round_, what)

    def bent(name: str, signed: Signed) -> Signed:
        signed = before(name, signed)
        if name != liar:
            return signed
        signed = round_.sign(name, domain, change(decode_stage(kind, signed.body)))
        if what == "bend_shares":
            machine(round_, name)._own_deal = signed.body
        return signed

    setattr(round_, what, bent)


def machine(round_: Round, liar: str) -> ClientRound:
    return round_.clients[liar]


def shifted(round_: Round, lanes: bytes, *, buckets: int, by: int = 1) -> bytes:
    values = np.frombuffer(lanes, round_.terms.dtype).copy()
    values[:buckets] += round_.terms.dtype.type(by % 2**round_.terms.bits)
    return values.tobytes()


# -- lies about the upload --------------------------------------------------------------------------------------------


def false_claim(buckets: int) -> Lie:
    def lie(round_: Round, liar: str) -> None:
        bend(round_, "bend_sketch", liar, lambda s: replace(s, codes=shifted(round_, s.codes, buckets=buckets)))

    return lie


def other_upload(make: Callable[[Round, Lanes], Lanes], *, honest_claim: bool) -> Lie:
    """Upload other codes than those that the sketch is made of; or, with a true sketch, of these."""

    def lie(round_: Round, liar: str) -> None:
        def bent(name: str, lanes: Lanes) -> Lanes:
            if name != liar:
                return lanes
            codes = make(round_, round_.codes[name])
            lanes = lanes + codes - round_.codes[name]
            if not honest_claim:
                machine(round_, name)._codes = codes
            round_.codes[name] = codes
            return lanes

        round_.bend_lanes = bent

    return lie


def centred(round_: Round, codes: Lanes) -> np.ndarray:
    return codes.astype(np.int64) - round_.terms.zero


def times(factor: float) -> Callable[[Round, Lanes], Lanes]:
    return lambda r, codes: (np.rint(centred(r, codes) * factor) + r.terms.zero).astype(np.int64).astype(codes.dtype)


def of_norm(norm: float) -> Callable[[Round, Lanes], Lanes]:
    def make(round_: Round, codes: Lanes) -> Lanes:
        rng = np.random.default_rng(5)
        values = rng.normal(size=len(codes)) * round_.terms.code_rms * norm + round_.terms.zero
        return np.rint(values).astype(np.int64).astype(codes.dtype)

    return make


def wrong_mask(which: str) -> Lie:
    def lie(round_: Round, liar: str) -> None:
        def bent(name: str, lanes: Lanes) -> Lanes:
            if name == liar:
                own = machine(round_, name)
                true = own._mates[victims(round_, 1, liar)[0]].pair_key if which == "pair" else own._b
                add_mask(lanes, true, -1)
                add_mask(lanes, bytes(32), 1)
            return lanes

        round_.bend_lanes = bent

    return lie


# -- lies about pairs and shares --------------------------------------------------------------------------------------


def false_sigma(count: int, *, compensate: bool = False) -> Lie:
    def lie(round_: Round, liar: str) -> None:
        def change(sketch: m.Sketch) -> m.Sketch:
            beside = victims(round_, count, liar)
            pairs = tuple((n, shifted(round_, s, buckets=3) if n in beside else s) for n, s in sketch.pairs)
            claim = sketch.codes
            for name in beside if compensate else ():
                claim = shifted(round_, claim, buckets=3, by=-1 if liar < name else 1)
            return replace(sketch, pairs=pairs, codes=claim)

        bend(round_, "bend_sketch", liar, change)

    return lie


def false_tag(count: int, tag: str = "pair_tag") -> Lie:
    def lie(round_: Round, liar: str) -> None:
        def change(shares: m.Shares) -> m.Shares:
            beside = victims(round_, count, liar)
            sealed = (replace(s, **{tag: b"x" * 32}) if s.holder in beside else s for s in shares.sealed)
            return replace(shares, sealed=tuple(sealed))

        bend(round_, "bend_shares", liar, change)

    return lie


def bad_seal(count: int) -> Lie:
    def lie(round_: Round, liar: str) -> None:
        def change(shares: m.Shares) -> m.Shares:
            beside = victims(round_, count, liar)
            sealed = (replace(s, ciphertext=s.ciphertext[::-1]) if s.holder in beside else s for s in shares.sealed)
            return replace(shares, sealed=tuple(sealed))

        bend(round_, "bend_shares", liar, change)

    return lie


def bad_deal(of: str) -> Lie:
    def lie(round_: Round, liar: str) -> None:
        def change(shares: m.Shares) -> m.Shares:
            own = machine(round_, liar)
            b, secret = own._b, own._mask.private
            b, secret = (bytes(32), secret) if of == "b" else (b, bytes(31) + b"\1")
            sealed, own._held[liar] = deal(own._seat, own._mates, b, secret, own._entropy)
            return replace(shares, sealed=sealed)

        bend(round_, "bend_shares", liar, change)

    return lie


def wrong_share(round_: Round, liar: str) -> None:
    def change(unmask: m.Unmask) -> m.Unmask:
        name, share = unmask.self_mask[0]
        return replace(unmask, self_mask=((name, share[:-1] + bytes([share[-1] ^ 1])), *unmask.self_mask[1:]))

    bend(round_, "bend_unmask", liar, change)


def complaints(*, true_key: bool) -> Lie:
    def lie(round_: Round, liar: str) -> None:
        def extra(name: str) -> Iterable[Signed]:
            if name != liar:
                return ()
            own, header = machine(round_, liar), round_.terms.header_digest
            rows = ((n, mate.in_key if true_key else bytes(32)) for n, mate in own._mates.items())
            return [round_.sign(liar, m.OPENING_DOMAIN, m.Opening(header, "sealing", n, key)) for n, key in rows]

        round_.extra_openings = extra

    return lie


LIES: dict[str, tuple[Lie, str, bool]] = {
    # lie: (how, proof, does it void the group)
    "claim, one bucket by 1": (false_claim(1), "false-sketch", True),
    "claim, half of the buckets": (false_claim(32), "false-sketch", True),
    "claim of another update": (other_upload(times(0), honest_claim=True), "false-sketch", True),
    "ten times, honest claim": (other_upload(times(10), honest_claim=True), "false-sketch", True),
    "flipped, honest claim": (other_upload(times(-1), honest_claim=True), "false-sketch", True),
    "wrong pair mask": (wrong_mask("pair"), "false-sketch", True),
    "wrong self mask": (wrong_mask("self"), "false-sketch", True),
    "3 C, true claim": (other_upload(of_norm(3), honest_claim=False), "over-bound", False),
    "sigma to 1": (false_sigma(1), "false-pair-sketch", False),
    "sigma to 3": (false_sigma(3), "false-pair-sketch", False),
    "sigma to all": (false_sigma(ALL), "false-pair-sketch", False),
    "sigma to 1, compensated": (false_sigma(1, compensate=True), "false-pair-sketch", False),
    "sigma to all, compensated": (false_sigma(ALL, compensate=True), "false-pair-sketch", False),
    "bad deal of b": (bad_deal("b"), "bad-deal", True),
    "bad seal to 1": (bad_seal(1), "bad-share", False),
    "bad seal to all": (bad_seal(ALL), "bad-share", True),
    "wrong share": (wrong_share, "bad-answer", False),
    "complaint of good shares": (complaints(true_key=True), "false-complaint", False),
    "complaint with a false key": (complaints(true_key=False), "false-complaint", False),
}


def check(round_: Round, outcome: Outcome, liars: Iterable[str] = (LIAR,)) -> None:
    """What holds after every round, whoever lies."""
    assert outcome.proofs.keys() <= set(liars)
    assert round_.refused.keys() <= set(liars)
    if outcome.total is not None:
        assert len(outcome.accepted) >= smallest_sum(len(round_.names))
        np.testing.assert_array_equal(outcome.total, modular_sum(round_, outcome))


def modular_sum(round_: Round, outcome: Outcome) -> np.ndarray:
    codes = [round_.codes[name] for name in outcome.accepted]
    return np.sum(codes, axis=0, dtype=round_.terms.dtype).astype(np.int64)


def lying_round(g: int, lie: Lie, liar: str = LIAR, *, seed: int = 0, bits: int = 8, **changes: object) -> Round:
    round_ = make_round(g, seed=seed, bits=bits, length=4096, dim=64, **changes)
    lie(round_, liar)
    return round_


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
@pytest.mark.parametrize("opens", [True, False])
def test_false_tags_to_all_leave_the_liar_out_alone(g: int, opens: bool) -> None:
    """Its own machine shows its mask secret, which proves it; one that does not is left out all the same."""
    round_ = lying_round(g, false_tag(ALL))
    if not opens:
        tell = round_.tell
        round_.tell = lambda n, msg, s=None: [] if n == LIAR and isinstance(msg, m.Deals) else tell(n, msg, s)
    outcome, group = round_.play()
    check(round_, outcome)
    assert set(outcome.accepted) == set(round_.names) - {LIAR}
    assert (outcome.proofs, LIAR in group.board.pairs) == ({LIAR: "false-tag"} if opens else {}, False)


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
    """g = 8, t = 6: three liars publish false tags for one honest client; it is left out and proves all three."""
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
    assert outcome.accepted == ("c00", "c04", "c05", "c06")


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
def test_an_opened_key_that_is_none_settles_nothing(g: int) -> None:
    round_ = lying_round(g, false_sigma(1))
    bend(round_, "bend_opening", LIAR, lambda opening: replace(opening, key=bytes(32)))
    outcome, _ = round_.play()
    check(round_, outcome)
    assert outcome.proofs == {LIAR: "false-pair-sketch"}
    assert set(outcome.accepted) == set(round_.names) - {LIAR}


# -- coalitions -------------------------------------------------------------------------------------------------------


def coalition(round_: Round, liars: list[str], total: np.ndarray) -> None:
    """Upload codes far beyond what is claimed, with lies about their own pairs' sketches that cancel in the sum.

    `total` int64 [D] is what they add up to; each uploads its share of it and claims the same part of S(total).
    """
    count = len(liars)
    parts = {name: total if name == liars[0] else np.zeros_like(total) for name in liars}
    zero = round_.terms.zero

    def lanes(name: str, honest: Lanes) -> Lanes:
        if name not in parts:
            return honest
        codes = (parts[name] + zero).astype(round_.terms.dtype)
        out = honest + codes - round_.codes[name]
        round_.codes[name] = machine(round_, name)._codes = codes
        return out

    round_.bend_lanes = lanes

    def sketch(name: str, signed: Signed) -> Signed:
        if name not in parts:
            return signed
        value, dtype = decode_stage(m.Sketch, signed.body), round_.terms.dtype
        sketcher = round_.terms.sketcher(value.seed_root, colluders(len(round_.names)))
        nothing = sketcher.of_codes(np.full(round_.terms.length, zero, dtype))
        lifted = (sketcher.of_codes(round_.codes[liars[0]]) - nothing).view(f"i{dtype.itemsize}").astype(np.int64)
        share = {n: (lifted + i) // count for i, n in enumerate(liars)}  # adds up to `lifted` exactly
        claim = nothing + share[name].astype(dtype)
        pairs = dict(value.pairs)
        for other in liars[1:]:  # the first moves each other's share onto the pair that they have
            if name in (liars[0], other):
                mate = other if name == liars[0] else liars[0]
                moved = share[other].astype(dtype)
                low = liars[0] < other
                true = np.frombuffer(pairs[mate], dtype)
                pairs[mate] = (true + moved if low else true - moved).astype(dtype).tobytes()
        return round_.sign(name, m.SKETCH_DOMAIN, replace(value, codes=claim.tobytes(), pairs=tuple(pairs.items())))

    round_.bend_sketch = sketch


@pytest.mark.parametrize("g", SIZES)
@pytest.mark.parametrize("norm", [0.5, 4.0, 24.0])
def test_a_coalition_is_held_to_its_bound(g: int, norm: float) -> None:
    """Lies that cancel pass the check of each sketch; the total is bounded by what they may claim together."""
    count = colluders(g)
    passed = 0
    for seed in range(3):
        round_ = make_round(g, seed=seed, length=8192, dim=128)
        liars = list(round_.names[1 : 1 + count])
        rng = np.random.default_rng(seed)
        scale = norm * count * round_.terms.code_rms
        coalition(round_, liars, np.rint(rng.normal(size=8192) * scale).astype(np.int64))
        outcome, _ = round_.play()
        check(round_, outcome, liars)
        passed += outcome.total is not None and set(liars) <= set(outcome.accepted)
    assert passed == (3 if norm == 0.5 else 0)


def random_lies(round_: Round, rng: np.random.Generator, liars: list[str]) -> None:
    """One of each kind's hooks at most: `bend` adds up, the others replace."""
    kinds = [false_sigma(1), false_sigma(ALL), false_tag(1), bad_deal("b"), bad_seal(1), wrong_share, false_claim(1)]
    for liar in liars:
        kinds[int(rng.integers(len(kinds)))](round_, liar)


def fuzz(rounds: int, sizes: tuple[int, ...]) -> None:
    sums = 0
    for seed in range(rounds):
        rng = np.random.default_rng([7, seed])
        g = sizes[seed % len(sizes)]
        names = [f"c{i:02d}" for i in range(g)]
        liars = list(rng.choice(names, size=int(rng.integers(1, colluders(g) + 1)), replace=False))
        lost = {
            s: {n for n in names if rng.random() < 0.01} for s in ("masked_input", "sketch", "consistency", "unmask")
        }
        round_ = make_round(g, seed=seed, length=2048, dim=64, lost=lost)
        random_lies(round_, rng, liars)
        outcome, _ = round_.play()
        check(round_, outcome, liars)
        sums += outcome.total is not None
    assert sums


def test_random_lies_never_name_an_honest_client() -> None:
    fuzz(40, (7, 8, 10))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_random_lies_never_name_an_honest_client() -> None:
    fuzz(1500, (5, 7, 8, 10, 13, 16))


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
