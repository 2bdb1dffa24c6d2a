"""What a stranger may send to the enrolment port, and what comes back to a newcomer."""

from __future__ import annotations

from functools import cache

from roughfed.crypto import certificates, roster
from roughfed.wire import enrolment as wire

from .federation import authority, certificate, entry, key, signing_request
from .laws import Way, read, seeds_of
from .values import D

RUNS = 4000


def open_member(data: bytes) -> object:
    return wire.open_member(data, authority().certificate)


def open_certified(data: bytes) -> object:
    return wire.open_member(data, authority().certificate, federation=authority().federation, dated=False)


WAYS = (
    Way(wire.decode_enroll, wire.encode_enroll),
    Way(wire.decode_renew, wire.encode_renew),
    Way(wire.decode_authority, wire.encode_authority),
    Way(wire.decode_credentials, wire.encode_credentials),
    Way(wire.decode_roster_entry, wire.encode_roster_entry),
    Way(open_member),
    Way(open_certified),
    Way(wire.chain_of),
)


def fuzz(data: bytes) -> None:
    read(WAYS, data)


@cache
def member() -> bytes:
    body = wire.encode_roster_entry(entry())
    return wire.encode_member(body, authority().sign_roster(body))


@cache
def certified() -> bytes:
    body = wire.encode_roster_entry(entry())
    signature = roster.sign_entry(key(12), body, deterministic=True)
    return wire.encode_member(body, signature, certificates.encode_chain(certificate()))


def seeds() -> list[bytes]:
    ca, csr = authority(), signing_request()
    return seeds_of(
        (0, wire.encode_enroll(wire.EnrollRequest(D, csr, D, bytes(64)))),
        (1, wire.encode_renew(wire.RenewRequest(csr, member(), 1_700_000_000, bytes(64)))),
        (2, wire.encode_authority(wire.AuthorityReply(ca.certificate, ca.federation))),
        (
            3,
            wire.encode_credentials(wire.IssuedCredentials(ca.certificate, member(), ca.certificate, "a.example:9443")),
        ),
        (4, wire.encode_roster_entry(entry())),
        (5, member()),
        (6, certified()),
        (7, certified()),
    )
