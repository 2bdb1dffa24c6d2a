"""T14: everything that codes mean follows from the header, so that clients with different settings never add up."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any

import pytest

from roughfed.errors import IdentityError, RemoteProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.roster import make_cohort, unusable_adverts
from roughfed.tiers import STANDARD, bound_digest
from roughfed.types import ClientTier, RoundHeader
from roughfed.wire.secagg import decode_stage
from roughfed.wire.session import encode_header
from tests.simulation.secagg import make_round

ONE = bytes([1]) * 32
HEADER = RoundHeader(
    run="r", round=3, model_digest=ONE, model_version=2, spec_digest=ONE, previous_header_digest=ONE, codec="lanes",
    server_sees="sketches", roster_root=ONE, deadline_s=60.0, levels=16, lane_bits=8, keep_one_in=1, clip_norm=10.0,
    nonce_commitment=ONE, sketch_dim=128, epoch_round=3, epoch_beacon=b"", statistics=("evaluated:1",),
    heads=(ONE,),
)  # fmt: skip


def other(value: Any) -> Any:
    match value:
        case bytes():
            return bytes([2]) * 32
        case str():
            return value + "x"
        case tuple():
            return (*value, other(value[0]))
        case _:
            return value * 2 + 1


READ_AS = "tier"  # not on the wire: each class is bound by `bound_digest`


@pytest.mark.parametrize("name", [f.name for f in fields(RoundHeader) if f.name not in (READ_AS, "tiers")])
def test_every_field_of_the_header_is_bound(name: str) -> None:
    """Range, scale, levels, rotation (run and round), model, statistics: another value is another digest."""
    changed = replace(HEADER, **{name: other(getattr(HEADER, name))})
    assert hashlib.sha256(encode_header(changed)).digest() != hashlib.sha256(encode_header(HEADER)).digest()


THIN = ClientTier("thin", 16, ("head.*",), "lanes", 16, 8, 5.0, 64, 3, b"")


@pytest.mark.parametrize("name", [f.name for f in fields(ClientTier)])
def test_every_field_of_a_class_is_bound(name: str) -> None:
    value = getattr(THIN, name)
    changed = replace(THIN, **{name: "other" if isinstance(value, str) else other(value)})
    headers = [replace(HEADER, tiers=tiers) for tiers in ((), (THIN,), (changed,), (THIN, changed))]
    assert len({encode_header(header) for header in headers[: 4 if name == "name" else 3]}) >= 3


def test_the_digest_is_of_one_class() -> None:
    assert bound_digest(ONE, STANDARD) == ONE
    assert len({bound_digest(digest, name) for digest in (ONE, bytes(32)) for name in ("", "a", "b")}) == 6


def test_a_client_under_another_header_is_kept_out_and_is_no_member_for_the_others() -> None:
    mine, theirs = make_round(4, length=64, dim=0), make_round(4, length=64, dim=0, seed=1)
    adverts, foreign = mine.advertise(), theirs.advertise()
    mixed = [*adverts[:3], foreign[3]]
    values = [(a.signer, decode_stage(m.Advertise, a.body)) for a in mixed]
    assert unusable_adverts(values, mine.terms.header_digest) == {foreign[3].signer: "header"}
    mine.cohort = make_cohort(mixed)
    roster = mine.roster(mixed)
    for name in mine.names[:3]:
        with pytest.raises(RemoteProtocolError) as caught:
            mine.clients[name].receive(roster)
        assert caught.value.reason == "header"
    with pytest.raises((RemoteProtocolError, IdentityError)):
        theirs.clients[foreign[3].signer].receive(roster)
