"""Attacks on the stages of a masked round: replayed, from another client, out of order, with one field changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from roughfed.messages import ClientStage
from roughfed.secagg import messages as m
from roughfed.wire.secagg import decode_stage
from roughfed.wire.session import encode_client_message

from .corpus import STAGES, Row, Scene

KEY = bytes(range(32))


def stage(name: str, how: Any, reason: str, under: str = "") -> Row:
    return Row(name, how, reason, STAGES, under or reason)


def replayed(kind: str, number: int, *, by: str = "c1", of: str = "c0") -> Any:
    """What one client said, in the session of another (or of itself)."""
    return lambda s: s.refusal(by, kind, s.told(of, kind, number))


def changed(kind: str, number: int, **changes: Any) -> Any:
    return lambda s: s.refusal("c0", kind, s.forged("c0", kind, number, **changes))


def early(kind: str, value: Any) -> Any:
    return lambda s: s.refusal("c0", kind, s.made("c0", kind, value))


def opening(**changes: Any) -> Any:
    def how(s: Scene) -> str:
        header = decode_stage(m.Advertise, s.told("c0", "advertise", 1).body).header_digest
        return s.refusal(
            "c0", "opening", s.made("c0", "opening", replace(m.Opening(header, "pair", "c1", KEY), **changes))
        )

    return how


def stranger(s: Scene) -> str:
    """A member that sits nowhere, with the words of one that does."""
    s.peers["x0"].join()
    s.peers["x0"].send(encode_client_message(ClientStage("shares", s.told("c0", "shares", 1))))
    return s.heard("x0", "shares")


def advert_of_stranger(s: Scene) -> str:
    s.peers["x0"].send(encode_client_message(ClientStage("advertise", s.told("c0", "advertise", 1))))
    return s.heard("x0", "advertise")


def said_twice(s: Scene) -> str:
    """Its own shares again, to the byte, as an agent says them after a restart; then one word that is refused."""
    s.say("c0", "shares", s.told("c0", "shares", 1))
    return s.refusal("c0", "sketch", s.made("c0", "sketch", m.Sketch(KEY, b"", ())))


def as_another_kind(s: Scene) -> str:
    """Signed for one purpose, said for another."""
    return s.refusal("c0", "opening", s.told("c0", "advertise", 1))


MASKING = [
    stage("another's advert", replayed("advertise", 1), "conflict"),
    stage("another advert than before", changed("advertise", 1, mask_key=KEY), "conflict"),
    stage("another's shares", replayed("shares", 1), "late"),
    stage("other shares than before", changed("shares", 1, sealed=()), "late"),
    Row("the own shares again, and a sketch before the seed", said_twice, "late", STAGES, "late"),
    stage("a signature over sets before there are any", early("consistency", m.Consistency(KEY)), "late"),
    stage("shares of secrets before they are asked for", early("unmask", m.Unmask(KEY, (), ())), "late"),
    stage("a pair's key opened without a dispute", opening(), "order"),
    stage("an opening about nobody", opening(against="nobody"), "order"),
    stage("an opening of another round", opening(header_digest=KEY), "header"),
    stage("an advert said as an opening", as_another_kind, "signature"),
    stage("shares from a member without a seat", stranger, "order"),
    stage("an advert from a member outside the cohort", advert_of_stranger, "not-in-cohort", "other"),
]  # fmt: skip
"""While the clients train and upload in round 1."""

OF_ROUND_1 = [
    stage("the advert of the round before", replayed("advertise", 1, by="c0"), "conflict"),
    stage("the shares of the round before", replayed("shares", 1, by="c0"), "late"),
    stage("the sketch of the round before, early", replayed("sketch", 1, by="c0"), "late"),
    stage("the signature over the sets of the round before, early", replayed("consistency", 1, by="c0"), "late"),
    stage("the answer to unmask of the round before, early", replayed("unmask", 1, by="c0"), "late"),
]
"""While round 2 waits for an upload."""

SKETCHING = [
    stage("the sketch of the round before", replayed("sketch", 1, by="c0"), "sketch"),
    stage("another's sketch", replayed("sketch", 2), "signature"),
    stage("another sketch than before", changed("sketch", 2, codes=bytes(64)), "conflict"),
    stage("a sketch under another seed", changed("sketch", 2, seed_root=KEY), "sketch"),
    stage("shares for the second time", replayed("shares", 2, by="c0", of="c1"), "late"),
]
AGREEING = [
    stage("the signature over the sets of the round before", replayed("consistency", 1, by="c0"), "sets"),
    stage("another's signature over the sets", replayed("consistency", 2, by="c4"), "signature"),
    stage("a signature over other sets", changed("consistency", 2, sets_digest=KEY), "sets"),
    stage("a sketch after the sketches", replayed("sketch", 2, by="c0", of="c1"), "late"),
]
UNMASKING = [
    stage("the answer to unmask of the round before", replayed("unmask", 1, by="c0"), "sets"),
    stage("another's answer to unmask", replayed("unmask", 2), "signature"),
    stage("another answer than before", changed("unmask", 2, self_mask=()), "conflict"),
    stage("an answer for other sets", changed("unmask", 2, sets_digest=KEY), "sets"),
    stage("a signature over other sets, late", changed("consistency", 2, sets_digest=KEY), "late"),
]
