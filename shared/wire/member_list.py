"""The list of members as bytes (proto/v1/federation.proto, MemberList): what is signed is what is hashed and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from roughfed.crypto.member_list import ListedMember, MemberList, Trust
from roughfed.crypto.names import check_name
from roughfed.errors import IdentityError, RemoteProtocolError, TooLarge
from roughfed.pb.v1 import federation_pb2 as pb
from roughfed.pb.v1 import secagg_pb2
from roughfed.types import RoundHeader
from roughfed.wire.updates import digest_field, number_field, parse

MAX_LIST_BYTES = 1 << 20
"""About 18,000 members; 1,000 take 60 kB."""
MAX_SIGNATURES, MAX_SIGNATURE_BYTES = 64, 80
LIST_REQUEST_DOMAIN = b"roughfed list request v1\0"

Signature = tuple[bytes, bytes]
"""(Public key of an organisation, or empty for the CA; its signature.)"""


def encode_list(listed: MemberList) -> bytes:
    """A list to the bytes that are signed.

    Raises:
        TooLarge: more members than a list has room for.
    """
    members = [
        pb.ListedMember(
            name=m.name,
            identity_key=m.identity_key,
            expires_at=m.expires_at,
            organisation=m.organisation,
            server=m.server,
        )
        for m in listed.members
    ]
    body = pb.MemberList(
        federation=listed.federation,
        number=listed.number,
        previous_digest=listed.previous_digest,
        issued_at=listed.issued_at,
        expires_at=listed.expires_at,
        members=members,
    ).SerializeToString(deterministic=True)
    if len(body) > MAX_LIST_BYTES:
        raise TooLarge(f"a list of {len(members)} members has {len(body)} bytes, at most {MAX_LIST_BYTES} go")
    return body


def decode_list(body: bytes) -> MemberList:
    """Bytes to a list.

    Raises:
        TooLarge: more bytes than a list has.
        RemoteProtocolError: not one, or its members are not in order.
        IdentityError: a name that is none.
    """
    if len(body) > MAX_LIST_BYTES:
        raise TooLarge(f"a member list of {len(body)} bytes, at most {MAX_LIST_BYTES} go")
    m = parse(pb.MemberList, body)
    members = tuple(
        ListedMember(
            check_name(one.name),
            digest_field(one.identity_key, "identity_key"),
            number_field(one.expires_at, "expires_at"),
            check_name(one.organisation, what="organisation") if one.organisation else "",
            one.server,
        )
        for one in m.members
    )
    names = [member.name for member in members]
    if names != sorted(set(names)):
        raise RemoteProtocolError("the members of a list are not in order of their names", reason="schema")
    return MemberList(
        check_name(m.federation, what="federation"),
        number_field(m.number, "number"),
        digest_field(m.previous_digest, "previous_digest", empty=True),
        number_field(m.issued_at, "issued_at"),
        number_field(m.expires_at, "expires_at"),
        members,
        hashlib.sha256(body).digest(),
    )


def encode_signed(body: bytes, signatures: Sequence[Signature]) -> bytes:
    """A list's bytes beside its signatures: SignedMemberList."""
    found = [pb.ListSignature(key=key, signature=signature) for key, signature in signatures]
    return pb.SignedMemberList(list=body, signatures=found).SerializeToString()


def decode_signed(data: bytes) -> tuple[bytes, tuple[Signature, ...]]:
    """SignedMemberList to the list's bytes and the signatures, neither of them read yet.

    Raises:
        TooLarge: more bytes than a list has. RemoteProtocolError: malformed.
    """
    if len(data) > MAX_LIST_BYTES + MAX_SIGNATURES * 2 * MAX_SIGNATURE_BYTES:
        raise TooLarge(f"a signed member list of {len(data)} bytes")
    m = parse(pb.SignedMemberList, data)
    found = tuple((one.key, one.signature) for one in m.signatures)
    if len(found) > MAX_SIGNATURES or any(len(s) > MAX_SIGNATURE_BYTES or len(k) not in (0, 32) for k, s in found):
        raise RemoteProtocolError(f"{len(found)} signatures of a member list, or long ones", reason="schema")
    return m.list, found


def open_signed(data: bytes, trust: Trust, federation: str) -> MemberList:
    """Verify a SignedMemberList, then read it.

    Raises:
        TooLarge, RemoteProtocolError: malformed.
        IdentityError: reason "members-signature" or "members"; not signed by whom is trusted, or of another federation.
    """
    body, signatures = decode_signed(data)
    trust.check(body, signatures)
    listed = decode_list(body)
    if listed.federation != federation:
        raise IdentityError(f"a member list of {listed.federation!r}, not of {federation!r}", reason="members")
    return listed


def member_fields(said: RoundHeader | pb.RoundHeader) -> dict[str, Any]:
    """What a header says of the list and of the draw, checked; the same names on either side of the wire."""
    return {
        "members_number": number_field(said.members_number, "members_number"),
        "members_digest": digest_field(said.members_digest, "members_digest", empty=True),
        "draw_round": number_field(said.draw_round, "draw_round"),
        "draw_beacon": digest_field(said.draw_beacon, "draw_beacon", empty=True),
    }


def encode_get_members(digest: bytes) -> bytes:
    """GetMembersRequest to bytes."""
    return pb.GetMembersRequest(digest=digest).SerializeToString()


def decode_get_members(data: bytes) -> bytes:
    """Bytes to the digest of the wanted list."""
    return digest_field(parse(pb.GetMembersRequest, data).digest, "digest")


def list_request_body(requested_at: int) -> bytes:
    """What a member signs to be given the list (under LIST_REQUEST_DOMAIN)."""
    return requested_at.to_bytes(8, "big")


def encode_list_request(member: bytes, requested_at: int, proof: bytes) -> bytes:
    """ListRequest to bytes."""
    entry = parse(secagg_pb2.SignedRosterEntry, member)
    return pb.ListRequest(member=entry, requested_at=requested_at, proof=proof).SerializeToString()


def decode_list_request(data: bytes) -> tuple[bytes, int, bytes]:
    """Bytes to (member, requested_at, proof)."""
    m = parse(pb.ListRequest, data)
    return m.member.SerializeToString(), number_field(m.requested_at, "requested_at"), m.proof
