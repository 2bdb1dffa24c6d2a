"""Lies that a client can tell, as changes of a round; and what holds after it all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from roughfed.crypto.masks import Lanes, add_mask
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound
from roughfed.secagg.dealing import deal
from roughfed.secagg.groups import smallest_sum
from roughfed.secagg.server import Outcome
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
