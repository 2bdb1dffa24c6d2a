"""The stages of secure aggregation on the wire: every message comes back, bad bytes are the peer's fault."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import LocalProtocolError, RemoteProtocolError
from roughfed.pb.v1 import secagg_pb2 as sec
from roughfed.pb.v1 import tensor_pb2 as ten
from roughfed.secagg import messages as m
from roughfed.types import MAX_TIERS, Signed
from roughfed.wire import secagg as wire
from roughfed.wire.enrolment import encode_member

digests = st.binary(min_size=32, max_size=32)
keys = digests
shares = st.binary(min_size=33, max_size=33)
blobs = st.binary(max_size=80)
names = st.text(max_size=20)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
signed = st.builds(Signed, blobs, st.binary(min_size=64, max_size=64), names)


def many(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=5).map(tuple)


sealed = st.builds(m.Sealed, names, blobs, digests, digests, digests, digests, digests)
MESSAGES: dict[type, st.SearchStrategy[object]] = {
    m.Advertise: st.builds(
        m.Advertise, digests, keys, keys, digests, st.just(4), st.just(1), st.booleans(), st.booleans()
    ),
    m.Roster: st.builds(
        m.Roster, digests, u32, many(signed), many(st.builds(encode_member, blobs, blobs)),
        many(st.tuples(names, digests)), blobs,
    ),
    m.Shares: st.builds(m.Shares, digests, digests, many(sealed)),
    m.Deals: st.builds(m.Deals, many(signed)),
    m.Statement: st.builds(m.Statement, names, digests),
    m.Seed: st.builds(m.Seed, digests, u32, digests, many(digests), u64, u64, u32, many(signed)),
    m.Sketch: st.builds(m.Sketch, digests, blobs, many(st.tuples(names, blobs))),
    m.Conflict: st.builds(m.Conflict, names, signed),
    m.Opening: st.builds(m.Opening, digests, st.sampled_from(["pair", "sealing"]), names, keys),
    m.Sets: st.builds(
        m.Sets, digests, u32, many(names), many(st.tuples(names, names)), digests | st.just(b""), many(signed)
    ),
    m.Consistency: st.builds(m.Consistency, digests),
    m.UnmaskRequest: st.builds(m.UnmaskRequest, many(signed)),
    m.Unmask: st.builds(m.Unmask, digests, many(st.tuples(names, shares)), many(st.tuples(names, shares))),
}  # fmt: skip


def test_every_message_has_its_test() -> None:
    assert set(MESSAGES) == set(m.Message.__args__)


@pytest.mark.parametrize("kind", MESSAGES)
@given(data=st.data())
def test_a_message_comes_back_and_its_bytes_are_canonical(kind: type, data: st.DataObject) -> None:
    value = data.draw(MESSAGES[kind])
    body = wire.encode_stage(value)
    assert wire.decode_stage(kind, body) == value
    assert wire.encode_stage(wire.decode_stage(kind, body)) == body


@pytest.mark.parametrize("kind", MESSAGES)
@given(data=st.data())
def test_bad_bytes_are_refused_or_read(kind: type, data: st.DataObject) -> None:
    """Random bytes, and true messages that are cut or changed: nothing but RemoteProtocolError comes out."""
    body = bytearray(wire.encode_stage(data.draw(MESSAGES[kind])))
    for _ in range(data.draw(st.integers(0, 4))):
        if body:
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(body[: data.draw(st.integers(0, len(body)))])
    for raw in (cut, data.draw(st.binary(max_size=60))):
        with suppress(RemoteProtocolError):
            assert isinstance(wire.decode_stage(kind, raw), kind)


D = bytes(32)
S = sec.Signed(body=b"b", signature=bytes(64), signer="a")
LEAF = sec.Roster.Leaf(name="a", advert_digest=D)


def advert(**changes: Any) -> sec.Advertise:
    good = {"header_digest": D, "mask_public_key": D, "sealing_public_key": D, "self_mask_commitment": D}
    return sec.Advertise(**(good | {"weight_quarters": 4, "tier": 1} | changes))


BAD: dict[str, tuple[type, Any]] = {
    "advert, header": (m.Advertise, advert(header_digest=D[1:])),
    "advert, mask key": (m.Advertise, advert(mask_public_key=D[1:])),
    "advert, sealing key": (m.Advertise, advert(sealing_public_key=D + b"1")),
    "advert, commitment": (m.Advertise, advert(self_mask_commitment=b"")),
    "advert, weight 0": (m.Advertise, advert(weight_quarters=0)),
    "advert, weight 5": (m.Advertise, advert(weight_quarters=5)),
    "advert, no class": (m.Advertise, advert(tier=0)),
    "advert, more classes than there can be": (m.Advertise, advert(tier=2 + MAX_TIERS)),
    "roster, header": (m.Roster, sec.Roster()),
    "roster, leaf": (m.Roster, sec.Roster(header_digest=D, cohort=[sec.Roster.Leaf(name="a", advert_digest=b"1")])),
    "roster, too many": (m.Roster, sec.Roster(header_digest=D, adverts=[S] * (wire.MAX_MEMBERS + 1))),
    "roster, too large a cohort": (m.Roster, sec.Roster(header_digest=D, cohort=[LEAF] * (wire.MAX_COHORT + 1))),
    "shares, hash": (m.Shares, sec.Shares(header_digest=D, roster_digest=D, sealed=[sec.Shares.Sealed(holder="a")])),
    "shares, roster": (m.Shares, sec.Shares(header_digest=D)),
    "seed, path": (m.Seed, sec.Seed(header_digest=D, root=D, path=[b"x"])),
    "seed, a long path": (m.Seed, sec.Seed(header_digest=D, root=D, path=[D] * 65)),
    "sketch, root": (m.Sketch, sec.Sketch(seed_root=b"")),
    "opening, kind": (m.Opening, sec.Opening(header_digest=D, kind="both", key=D)),
    "opening, the own mask secret": (m.Opening, sec.Opening(header_digest=D, kind="mask", key=D)),
    "statement, view": (m.Statement, ten.UpdateStatement(client="a")),
    "opening, key": (m.Opening, sec.Opening(header_digest=D, kind="pair", key=D[1:])),
    "sets, root": (m.Sets, sec.Sets(header_digest=D, seed_root=b"1")),
    "consistency": (m.Consistency, sec.Consistency(sets_digest=b"1")),
    "unmask, share": (m.Unmask, sec.Unmask(sets_digest=D, self_mask=[sec.Unmask.Share(dealer="a", value=D)])),
    "unmask, sets": (m.Unmask, sec.Unmask()),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_field_of_the_wrong_length_is_refused(name: str) -> None:
    kind, message = BAD[name]
    with pytest.raises(RemoteProtocolError) as caught:
        wire.decode_stage(kind, message.SerializeToString())
    assert caught.value.reason == "schema"


@given(value=signed)
def test_a_signed_message_comes_back(value: Signed) -> None:
    assert wire.decode_signed(wire.encode_signed(value)) == value
    with pytest.raises(LocalProtocolError):
        wire.encode_signed(Signed(value.body, value.signature[1:], value.signer))
    with pytest.raises(RemoteProtocolError):
        wire.decode_signed(b"\xff\xff")


def test_the_bytes_are_frozen() -> None:
    """What is signed must stay the same bytes in every version."""
    one = Signed(b"b", bytes(64), "a")
    values = [
        m.Advertise(D, D, D, D, 4, 1),
        m.Roster(D, 1, (one,), (encode_member(b"e", b"s"),), (("a", D),), b"n"),
        m.Shares(D, D, (m.Sealed("a", b"c", D, D, D, D, D),)),
        m.Deals((one,)),
        m.Statement("a", D),
        m.Seed(D, 1, D, (D,), 1, 2, 128, (one,)),
        m.Sketch(D, b"c", (("a", b"l"),)),
        m.Conflict("a", one),
        m.Opening(D, "pair", "a", D),
        m.Sets(D, 1, ("a",), (("b", "norm"),), D, (one,)),
        m.Consistency(D),
        m.UnmaskRequest((one,)),
        m.Unmask(D, (("a", bytes(33)),), (("b", bytes(33)),)),
    ]
    assert {type(v) for v in values} == set(MESSAGES)
    assert (
        hashlib.sha256(b"".join(wire.encode_stage(v) for v in values)).hexdigest()[:32]
        == "d094b0ac5a7fbbb81f568511ef3687eb"
    )


@pytest.mark.parametrize("quarters", [1, 2, 3, 4])
def test_a_weight_class_is_said_in_the_advert(quarters: int) -> None:
    value = m.Advertise(D, D, D, D, quarters, statics=quarters > 2, trains=quarters % 2 == 0)
    assert wire.decode_stage(m.Advertise, wire.encode_stage(value)) == value
