"""The messages of the enrolment port, and the roster entry, as values and as bytes (proto/v1/federation.proto).

A member's `SignedRosterEntry` travels as its serialized bytes everywhere (`member: bytes`): what was signed is what
is hashed, stored and verified.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from roughfed.crypto.certificates import federation_of
from roughfed.crypto.names import check_name, check_role
from roughfed.crypto.roster import RosterEntry, verify_entry
from roughfed.errors import IdentityError, RemoteProtocolError
from roughfed.pb.v1 import federation_pb2 as pb
from roughfed.pb.v1 import secagg_pb2

SERVICE = "roughfed.v1.Enrolment"

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
class Credentials:
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


def encode_credentials(credentials: Credentials) -> bytes:
    """Serialize Credentials. Raises RemoteProtocolError if `member` is not a SignedRosterEntry."""
    return pb.Credentials(
        certificate=credentials.certificate,
        member=_parse(secagg_pb2.SignedRosterEntry(), credentials.member),
        federation_address=credentials.federation_address,
        ca_certificate=credentials.ca_certificate,
    ).SerializeToString()


def decode_credentials(data: bytes) -> Credentials:
    """Parse Credentials. Raises RemoteProtocolError."""
    message = _parse(pb.Credentials(), data)
    return Credentials(
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


def encode_member(entry: bytes, signature: bytes) -> bytes:
    """Serialize SignedRosterEntry from a serialized entry and the CA's signature."""
    return secagg_pb2.SignedRosterEntry(entry=entry, signature=signature).SerializeToString()


def open_member(member: bytes, ca_certificate: bytes) -> RosterEntry:
    """Verify a serialized SignedRosterEntry and read it.

    Raises:
        IdentityError: `reason="roster"` if this CA did not sign it or it is of another federation.
        RemoteProtocolError: it cannot be parsed.
    """
    message = _parse(secagg_pb2.SignedRosterEntry(), member)
    verify_entry(ca_certificate, message.entry, message.signature)
    entry = decode_roster_entry(message.entry)
    if entry.federation != (federation := federation_of(ca_certificate)):
        raise IdentityError(f"roster entry of federation {entry.federation!r}, not {federation!r}", reason="roster")
    return entry


def _parse(message: M, data: bytes) -> M:
    try:
        message.ParseFromString(data)
    except DecodeError:
        # Not chained: the parser's words could quote what was sent.
        raise RemoteProtocolError(f"{len(data)} bytes are not a {message.DESCRIPTOR.name}") from None
    return message
