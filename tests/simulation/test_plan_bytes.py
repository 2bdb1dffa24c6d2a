"""The bytes that a plan foresees for the messages of a round are those of a round that is played."""

from __future__ import annotations

from dataclasses import replace

import pytest

from roughfed.deploy.plan_bytes import stages_down, stages_up
from roughfed.secagg import messages as m
from roughfed.types import Signed
from roughfed.wire.secagg import encode_stage

from .secagg import Round, make_round


def named(size: int) -> Round:
    """A round of clients whose names are as long as those of a plan."""
    made = make_round(size)
    names = tuple(f"client-{at:03d}" for at in range(size))
    return replace(made, names=names, codes=dict(zip(names, made.codes.values(), strict=True)))


@pytest.mark.parametrize("size", [5, 8])
def test_what_a_client_sends_was_foreseen(size: int) -> None:
    sent: dict[str, int] = {}

    def count(name: str, signed: Signed) -> Signed:
        sent[name] = sent.get(name, 0) + len(signed.body) + len(signed.signature) + len(signed.signer)
        return signed

    made = named(size)
    outcome, _ = replace(made, bend_shares=count, bend_sketch=count, bend_unmask=count).play()
    foreseen = stages_up(size, sketch_bytes=made.terms.dim)
    assert outcome.total is not None
    digest = bytes(32)
    rest = (m.Advertise(digest, digest, digest, digest), m.Consistency(digest))
    unseen = sum(len(encode_stage(value)) + len("client-000") + 64 for value in rest)
    assert sent == dict.fromkeys(made.names, foreseen - unseen)


def test_everybody_gets_what_everybody_dealt() -> None:
    dealt: dict[str, int] = {}

    def count(name: str, signed: Signed) -> Signed:
        dealt[name] = len(signed.body) + len(signed.signature) + len(signed.signer)
        return signed

    made = named(8)
    replace(made, bend_shares=count).play()
    foreseen = stages_down(8, 8, sketches=True)
    assert sum(dealt.values()) < foreseen < 1.7 * sum(dealt.values())
