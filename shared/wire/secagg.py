"""The stages of secure aggregation: values to bytes and back (proto/v1/secagg.proto).

What is signed is signed as these bytes and never serialized again by anybody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, cast

from roughfed.errors import LocalProtocolError, RemoteProtocolError
from roughfed.messages import ClientStage, ServerStage
from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.pb.v1 import secagg_pb2 as sec
from roughfed.pb.v1 import tensor_pb2 as ten
from roughfed.secagg import messages as m
from roughfed.types import Signed
from roughfed.wire.updates import digest_field, parse

CLIENT_STAGES: Mapping[str, type] = MappingProxyType(
    {
        "advertise": m.Advertise,
        "shares": m.Shares,
        "opening": m.Opening,
        "sketch": m.Sketch,
        "consistency": m.Consistency,
        "unmask": m.Unmask,
    }
)
"""Fields of ClientMessage, and what is signed in each."""

MAX_STAGE_BYTES: Mapping[str, int] = MappingProxyType(
    {
        "advertise": 1 << 10,
        "shares": 32 << 10,
        "opening": 1 << 10,
        "sketch": 512 << 10,
        "consistency": 1 << 10,
        "unmask": 8 << 10,
    }
)
"""With groups of 20, and sketches of 4096 numbers in 32 bits."""

SIGNED_STAGES: Mapping[str, type] = MappingProxyType({"seed": m.Seed, "sets": m.Sets})
SERVER_STAGES: Mapping[str, Any] = MappingProxyType(
    {"roster": sec.Roster, "deals": sec.Deals, "conflict": sec.Conflict, "unmask": sec.UnmaskRequest}
)
"""Fields of ServerMessage."""
STAGE_VALUES: Mapping[str, type[m.Message]] = MappingProxyType(
    {"roster": m.Roster, "deals": m.Deals, "conflict": m.Conflict, "unmask": m.UnmaskRequest, **SIGNED_STAGES}
)
"""What each of the server's stages carries."""

MAX_MEMBERS = 4096
MAX_COHORT = 100_000
MAX_PATH = 64
MAX_STATEMENT_BYTES = 1 << 10  # of a masked upload, as other members read it: names and digests
KEY_BYTES = 32
SHARE_BYTES = 33

T = TypeVar("T")


def encode_stage(value: m.Message) -> bytes:
    """A stage's message to bytes, the same for the same value."""
    return _ENCODERS[type(value)](value).SerializeToString(deterministic=True)


def decode_stage(kind: type[T], data: bytes) -> T:
    """Bytes to a stage's message.

    Raises:
        RemoteProtocolError: malformed, or a field of the wrong length.
    """
    return cast("T", _DECODERS[kind](data))


def signed_message(signed: Signed) -> sec.Signed:
    """Signed to its generated message."""
    return sec.Signed(body=signed.body, signature=signed.signature, signer=signed.signer)


def signed_value(message: sec.Signed) -> Signed:
    """Generated message to a Signed."""
    return Signed(message.body, message.signature, message.signer)


def _advertise(v: m.Advertise) -> sec.Advertise:
    return sec.Advertise(
        header_digest=v.header_digest,
        mask_public_key=v.mask_key,
        sealing_public_key=v.sealing_key,
        self_mask_commitment=v.commitment,
        weight_quarters=v.weight_quarters,
        tier=v.tier,
        statics=v.statics,
        evaluates=v.evaluates,
        trains=v.trains,
    )


def _read_advertise(data: bytes) -> m.Advertise:
    x = parse(sec.Advertise, data)
    if not 1 <= x.weight_quarters <= 4 or not 1 <= x.tier <= 9:  # the standard one and MAX_TIERS others
        raise RemoteProtocolError(f"weight {x.weight_quarters}/4, tier {x.tier}", reason="schema")
    return m.Advertise(
        digest_field(x.header_digest, "header_digest"),
        _sized(x.mask_public_key, KEY_BYTES, "mask key"),
        _sized(x.sealing_public_key, KEY_BYTES, "sealing key"),
        digest_field(x.self_mask_commitment, "commitment"),
        x.weight_quarters,
        x.tier,
        x.statics,
        x.evaluates,
        x.trains,
    )


def _roster(v: m.Roster) -> sec.Roster:
    message = sec.Roster(header_digest=v.header_digest, group=v.group, nonce=v.nonce)
    message.adverts.extend(signed_message(s) for s in v.adverts)
    message.members.extend(parse(sec.SignedRosterEntry, entry) for entry in v.members)
    message.cohort.extend(sec.Roster.Leaf(name=name, advert_digest=digest) for name, digest in v.cohort)
    return message


def _read_roster(data: bytes) -> m.Roster:
    x = parse(sec.Roster, data)
    _few(len(x.adverts), len(x.members))
    _few(len(x.cohort), limit=MAX_COHORT)
    return m.Roster(
        digest_field(x.header_digest, "header_digest"),
        x.group,
        tuple(signed_value(s) for s in x.adverts),
        tuple(entry.SerializeToString() for entry in x.members),
        tuple((leaf.name, digest_field(leaf.advert_digest, "advert_digest")) for leaf in x.cohort),
        x.nonce,
    )


def _shares(v: m.Shares) -> sec.Shares:
    message = sec.Shares(header_digest=v.header_digest, roster_digest=v.roster_digest)
    for s in v.sealed:
        message.sealed.add(
            holder=s.holder,
            ciphertext=s.ciphertext,
            self_hash=s.self_hash,
            mask_hash=s.mask_hash,
            pair_tag=s.pair_tag,
            out_tag=s.out_tag,
            in_tag=s.in_tag,
        )
    return message


def _read_shares(data: bytes) -> m.Shares:
    x = parse(sec.Shares, data)
    _few(len(x.sealed))
    sealed = tuple(
        m.Sealed(
            s.holder,
            s.ciphertext,
            digest_field(s.self_hash, "self_hash"),
            digest_field(s.mask_hash, "mask_hash"),
            digest_field(s.pair_tag, "pair_tag"),
            digest_field(s.out_tag, "out_tag"),
            digest_field(s.in_tag, "in_tag"),
        )
        for s in x.sealed
    )
    header, roster = digest_field(x.header_digest, "header_digest"), digest_field(x.roster_digest, "roster_digest")
    return m.Shares(header, roster, sealed)


def _deals(v: m.Deals) -> sec.Deals:
    return sec.Deals(shares=[signed_message(s) for s in v.shares])


def _read_deals(data: bytes) -> m.Deals:
    x = parse(sec.Deals, data)
    _few(len(x.shares))
    return m.Deals(tuple(signed_value(s) for s in x.shares))


def _seed(v: m.Seed) -> sec.Seed:
    return sec.Seed(
        header_digest=v.header_digest,
        root=v.root,
        path=v.path,
        index=v.index,
        count=v.count,
        dim=v.dim,
        group=v.group,
        statements=[signed_message(s) for s in v.statements],
    )


def _read_seed(data: bytes) -> m.Seed:
    x = parse(sec.Seed, data)
    _few(len(x.statements))
    _few(len(x.path), limit=MAX_PATH)
    return m.Seed(
        digest_field(x.header_digest, "header_digest"),
        x.group,
        digest_field(x.root, "root"),
        tuple(digest_field(p, "path") for p in x.path),
        x.index,
        x.count,
        x.dim,
        tuple(signed_value(s) for s in x.statements),
    )


def _statement(v: m.Statement) -> ten.UpdateStatement:
    return ten.UpdateStatement(client=v.client, view_digest=v.view_digest)


def _read_statement(data: bytes) -> m.Statement:
    if len(data) > MAX_STATEMENT_BYTES:
        raise RemoteProtocolError(f"a statement of {len(data)} bytes about a masked upload", reason="size")
    x = parse(ten.UpdateStatement, data)
    return m.Statement(x.client, digest_field(x.view_digest, "view_digest"))


def _sketch(v: m.Sketch) -> sec.Sketch:
    message = sec.Sketch(seed_root=v.seed_root, codes=v.codes)
    for member, lanes in v.pairs:
        message.pairs.add(member=member, lanes=lanes)
    return message


def _read_sketch(data: bytes) -> m.Sketch:
    x = parse(sec.Sketch, data)
    _few(len(x.pairs))
    return m.Sketch(digest_field(x.seed_root, "seed_root"), x.codes, tuple((p.member, p.lanes) for p in x.pairs))


def _conflict(v: m.Conflict) -> sec.Conflict:
    return sec.Conflict(member=v.member, sketch=signed_message(v.sketch))


def _read_conflict(data: bytes) -> m.Conflict:
    x = parse(sec.Conflict, data)
    return m.Conflict(x.member, signed_value(x.sketch))


def _opening(v: m.Opening) -> sec.Opening:
    return sec.Opening(header_digest=v.header_digest, kind=v.kind, against=v.against, key=v.key)


def _read_opening(data: bytes) -> m.Opening:
    x = parse(sec.Opening, data)
    if x.kind not in ("pair", "sealing"):
        raise RemoteProtocolError(f"an opening of kind {x.kind[:20]!r}", reason="schema")
    header = digest_field(x.header_digest, "header_digest")
    return m.Opening(header, x.kind, x.against, _sized(x.key, KEY_BYTES, "opened key"))


def _sets(v: m.Sets) -> sec.Sets:
    message = sec.Sets(header_digest=v.header_digest, group=v.group, accepted=v.accepted, seed_root=v.seed_root)
    message.statements.extend(signed_message(s) for s in v.statements)
    for name, reason in v.excluded:
        message.excluded.add(name=name, reason=reason)
    return message


def _read_sets(data: bytes) -> m.Sets:
    x = parse(sec.Sets, data)
    _few(len(x.accepted), len(x.excluded), len(x.statements))
    return m.Sets(
        digest_field(x.header_digest, "header_digest"),
        x.group,
        tuple(x.accepted),
        tuple((e.name, e.reason) for e in x.excluded),
        digest_field(x.seed_root, "seed_root", empty=True),
        tuple(signed_value(s) for s in x.statements),
    )


def _consistency(v: m.Consistency) -> sec.Consistency:
    return sec.Consistency(sets_digest=v.sets_digest)


def _read_consistency(data: bytes) -> m.Consistency:
    return m.Consistency(digest_field(parse(sec.Consistency, data).sets_digest, "sets_digest"))


def _unmask_request(v: m.UnmaskRequest) -> sec.UnmaskRequest:
    return sec.UnmaskRequest(consistency=[signed_message(s) for s in v.consistency])


def _read_unmask_request(data: bytes) -> m.UnmaskRequest:
    x = parse(sec.UnmaskRequest, data)
    _few(len(x.consistency))
    return m.UnmaskRequest(tuple(signed_value(s) for s in x.consistency))


def _unmask(v: m.Unmask) -> sec.Unmask:
    message = sec.Unmask(sets_digest=v.sets_digest)
    for dealer, share in v.self_mask:
        message.self_mask.add(dealer=dealer, value=share)
    for dealer, share in v.mask_secret:
        message.mask_secret.add(dealer=dealer, value=share)
    return message


def _read_unmask(data: bytes) -> m.Unmask:
    x = parse(sec.Unmask, data)
    _few(len(x.self_mask), len(x.mask_secret))
    return m.Unmask(
        digest_field(x.sets_digest, "sets_digest"),
        tuple((s.dealer, _sized(s.value, SHARE_BYTES, "share")) for s in x.self_mask),
        tuple((s.dealer, _sized(s.value, SHARE_BYTES, "share")) for s in x.mask_secret),
    )


def _sized(value: bytes, size: int, name: str) -> bytes:
    if len(value) != size:
        raise RemoteProtocolError(f"{name} of {len(value)} bytes, want {size}", reason="schema")
    return value


def _few(*counts: int, limit: int = MAX_MEMBERS) -> None:
    if max(counts) > limit:
        raise RemoteProtocolError(f"{max(counts)} entries, at most {limit} allowed", reason="schema")


_ENCODERS: dict[type, Callable[[Any], Any]] = {
    m.Advertise: _advertise,
    m.Roster: _roster,
    m.Shares: _shares,
    m.Deals: _deals,
    m.Statement: _statement,
    m.Seed: _seed,
    m.Sketch: _sketch,
    m.Conflict: _conflict,
    m.Opening: _opening,
    m.Sets: _sets,
    m.Consistency: _consistency,
    m.UnmaskRequest: _unmask_request,
    m.Unmask: _unmask,
}

_DECODERS: dict[type, Callable[[bytes], Any]] = {
    m.Advertise: _read_advertise,
    m.Roster: _read_roster,
    m.Shares: _read_shares,
    m.Deals: _read_deals,
    m.Statement: _read_statement,
    m.Seed: _read_seed,
    m.Sketch: _read_sketch,
    m.Conflict: _read_conflict,
    m.Opening: _read_opening,
    m.Sets: _read_sets,
    m.Consistency: _read_consistency,
    m.UnmaskRequest: _read_unmask_request,
    m.Unmask: _read_unmask,
}


class StageWire:
    """Values to the bytes that get signed, and back (`roughfed.secagg.terms.Wire`)."""

    encode = staticmethod(encode_stage)
    decode = staticmethod(decode_stage)


def client_stage(value: ClientStage) -> fed.ClientMessage:
    """A client's stage to the message of its stream."""
    if value.kind not in CLIENT_STAGES:
        raise LocalProtocolError(f"a client's stage {value.kind!r}")
    fields: dict[str, Any] = {value.kind: signed_message(value.signed)}
    return fed.ClientMessage(**fields)


def server_stage(value: ServerStage) -> fed.ServerMessage:
    """A server's stage to the message of its stream."""
    fields: dict[str, Any] = {}
    if value.kind in SIGNED_STAGES:
        fields[value.kind] = sec.Signed(body=value.body, signature=value.signature)
    elif value.kind in SERVER_STAGES:
        fields[value.kind] = parse(SERVER_STAGES[value.kind], value.body)
    else:
        raise LocalProtocolError(f"a server's stage {value.kind!r}")
    return fed.ServerMessage(**fields)


def read_client_stage(kind: str, message: fed.ClientMessage) -> ClientStage:
    """A message of a client's stream to its stage; the signer is whoever the stream belongs to.

    Raises:
        RemoteProtocolError: longer than such a stage can be. What is unknown to us would be passed on to others.
    """
    if message.ByteSize() > MAX_STAGE_BYTES[kind]:
        raise RemoteProtocolError(f"a stage {kind} of {message.ByteSize()} bytes", reason="size")
    return ClientStage(kind, signed_value(getattr(message, kind)))


def read_server_stage(kind: str, message: fed.ServerMessage) -> ServerStage:
    """A message of the server's stream to its stage."""
    inner = getattr(message, kind)
    if kind in SIGNED_STAGES:
        return ServerStage(kind, inner.body, inner.signature)
    return ServerStage(kind, inner.SerializeToString(deterministic=True))


def encode_signed(value: Signed) -> bytes:
    """Signed to bytes (for journals)."""
    if len(value.signature) != 64:
        raise LocalProtocolError("a signature is 64 bytes")
    return signed_message(value).SerializeToString(deterministic=True)


def decode_signed(data: bytes) -> Signed:
    """Bytes to a Signed."""
    return signed_value(parse(sec.Signed, data))
