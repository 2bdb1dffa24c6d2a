"""The messages of the enrolment port, and the roster entry, as values and as bytes (proto/v1/federation.proto).

A member's `SignedRosterEntry` travels as its serialized bytes everywhere (`member: bytes`): what was signed is what
is hashed, stored and verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from google.protobuf.message import DecodeError, Message

from roughfed.crypto.certificates import (
    check_issued,
    decode_chain,
    federation_of,
    identity_of,
    only_certificate,
    pem_of,
)
from roughfed.crypto.names import check_name, check_role
from roughfed.crypto.roster import RosterEntry, verify_entry
from roughfed.errors import IdentityError, RemoteProtocolError
from roughfed.pb.v1 import federation_pb2 as pb
from roughfed.pb.v1 import secagg_pb2

SERVICE = "roughfed.v1.Enrolment"

MEMBERS_REMEMBERED = 4096
"""Entries whose signatures were verified: some hundred bytes each."""

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class AuthorityReply:
    """The CA certificate (PEM) and the federation id."""

    ca_certificate: bytes
    federation: str


@dataclass(frozen=True, slots=True)
class EnrollRequest:
    """A token for a certificate. The token never shows in a repr."""

    token: bytes = field(repr=False)
    csr: bytes
    identity_key: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class RenewRequest:
    """A fresh signing request, signed by the enrolled identity key; `requested_at` in Unix seconds."""

    csr: bytes
    member: bytes
    requested_at: int
    proof: bytes


@dataclass(frozen=True, slots=True)
class IssuedCredentials:
    """What enrolment gives: certificate and CA certificate (PEM), roster entry, where the federation port is."""

    certificate: bytes
    member: bytes
    ca_certificate: bytes
    federation_address: str = ""


def encode_authority(reply: AuthorityReply) -> bytes:
    """Serialize Authority."""
    return pb.Authority(ca_certificate=reply.ca_certificate, federation=reply.federation).SerializeToString()


def decode_authority(data: bytes) -> AuthorityReply:
    """Parse Authority. Raises RemoteProtocolError."""
    message = _parse(pb.Authority(), data)
    return AuthorityReply(message.ca_certificate, message.federation)


def encode_enroll(request: EnrollRequest) -> bytes:
    """Serialize EnrollRequest."""
    return pb.EnrollRequest(
        token=request.token, csr=request.csr, identity_key=request.identity_key, proof=request.proof
    ).SerializeToString()


def decode_enroll(data: bytes) -> EnrollRequest:
    """Parse EnrollRequest. Raises RemoteProtocolError, also for a token or key that is not 32 bytes."""
    message = _parse(pb.EnrollRequest(), data)
    request = EnrollRequest(message.token, message.csr, message.identity_key, message.proof)
    if (sizes := (len(request.token), len(request.identity_key))) != (32, 32):
        raise RemoteProtocolError(f"token and identity key have {sizes[0]} and {sizes[1]} bytes, want 32 and 32")
    return request


def encode_renew(request: RenewRequest) -> bytes:
    """Serialize RenewRequest. Raises RemoteProtocolError if `member` is not a SignedRosterEntry."""
    return pb.RenewRequest(
        csr=request.csr,
        member=_parse(secagg_pb2.SignedRosterEntry(), request.member),
        requested_at=request.requested_at,
        proof=request.proof,
    ).SerializeToString()


def decode_renew(data: bytes) -> RenewRequest:
    """Parse RenewRequest. Raises RemoteProtocolError."""
    message = _parse(pb.RenewRequest(), data)
    return RenewRequest(message.csr, message.member.SerializeToString(), message.requested_at, message.proof)


def encode_credentials(credentials: IssuedCredentials) -> bytes:
    """Serialize Credentials. Raises RemoteProtocolError if `member` is not a SignedRosterEntry."""
    return pb.Credentials(
        certificate=credentials.certificate,
        member=_parse(secagg_pb2.SignedRosterEntry(), credentials.member),
        federation_address=credentials.federation_address,
        ca_certificate=credentials.ca_certificate,
    ).SerializeToString()


def decode_credentials(data: bytes) -> IssuedCredentials:
    """Parse Credentials. Raises RemoteProtocolError."""
    message = _parse(pb.Credentials(), data)
    return IssuedCredentials(
        certificate=message.certificate,
        member=message.member.SerializeToString(),
        ca_certificate=message.ca_certificate,
        federation_address=message.federation_address,
    )


def encode_roster_entry(entry: RosterEntry) -> bytes:
    """Serialize RosterEntry: the bytes that the CA signs."""
    return secagg_pb2.RosterEntry(
        name=entry.name,
        role=entry.role,
        identity_key=entry.identity_key,
        federation=entry.federation,
        enrolled_at=entry.enrolled_at,
    ).SerializeToString(deterministic=True)


def decode_roster_entry(data: bytes) -> RosterEntry:
    """Parse RosterEntry.

    Raises:
        RemoteProtocolError: not one, or its key is not 32 bytes.
        IdentityError: name, federation or role is not one.
    """
    message = _parse(secagg_pb2.RosterEntry(), data)
    if len(message.identity_key) != 32:
        raise RemoteProtocolError(f"identity key has {len(message.identity_key)} bytes, want 32")
    return RosterEntry(
        name=check_name(message.name),
        role=check_role(message.role),
        identity_key=message.identity_key,
        federation=check_name(message.federation, what="federation"),
        enrolled_at=message.enrolled_at,
    )


def encode_member(entry: bytes, signature: bytes, chain: Sequence[bytes] = ()) -> bytes:
    """Serialize SignedRosterEntry from a serialized entry and the CA's signature; with a chain, the member's own."""
    return secagg_pb2.SignedRosterEntry(entry=entry, signature=signature, chain=chain).SerializeToString()


def open_member(member: bytes, ca_certificate: bytes, *, federation: str = "", dated: bool = True) -> RosterEntry:
    """Verify a serialized SignedRosterEntry and read it.

    Args:
        member: as it was sent.
        ca_certificate: PEM of the only CA that is trusted.
        federation: where that CA is not the federation's own: its id. The entry is signed with the key of a certificate
            that comes with it, leads to the CA, and names the same member.
        dated: whether that certificate must be valid now; False for what was signed in its time.

    Raises:
        IdentityError: `reason="roster"` if this CA did not sign it or it is of another federation; others as of
            `certificates.check_issued`.
        RemoteProtocolError: it cannot be parsed.
    """
    if not federation:
        return _open_entry(member, ca_certificate)
    message = _parse(secagg_pb2.SignedRosterEntry(), member)
    return _open_certified(message, ca_certificate, federation, now=datetime.now(UTC) if dated else None)


@lru_cache(MEMBERS_REMEMBERED)  # the same members every round; what is refused is not remembered
def _open_entry(member: bytes, ca_certificate: bytes) -> RosterEntry:
    message = _parse(secagg_pb2.SignedRosterEntry(), member)
    verify_entry(ca_certificate, message.entry, message.signature)
    entry = decode_roster_entry(message.entry)
    if entry.federation != (federation := federation_of(ca_certificate)):
        raise IdentityError(f"roster entry of federation {entry.federation!r}, not {federation!r}", reason="roster")
    return entry


def _open_certified(
    message: secagg_pb2.SignedRosterEntry, ca_certificate: bytes, federation: str, *, now: datetime | None
) -> RosterEntry:
    chain = b"".join(map(pem_of, decode_chain(message.chain)))
    role = identity_of(chain).role
    subject = check_issued(chain, ca_certificate, role=role, now=now, federation=federation)
    verify_entry(only_certificate(chain), message.entry, message.signature)
    entry = decode_roster_entry(message.entry)
    if entry.subject != subject:
        raise IdentityError(
            f"a roster entry of {entry.subject.uri} beside the certificate of {subject.uri}", reason="roster"
        )
    return entry


def chain_of(member: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates beside an entry, the member's own first; nothing is verified.

    Raises:
        IdentityError: reason "certificate"; there are none, or too many. RemoteProtocolError: it cannot be parsed.
    """
    return decode_chain(_parse(secagg_pb2.SignedRosterEntry(), member).chain)


def _parse(message: M, data: bytes) -> M:
    try:
        message.ParseFromString(data)
    except DecodeError:
        # Not chained: the parser's words could quote what was sent.
        raise RemoteProtocolError(f"{len(data)} bytes are not a {message.DESCRIPTOR.name}") from None
    return message
