"""A federation on paper: a CA, a member's entry, its request and its certificate."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec

from roughfed.crypto.certificates import new_request, private_pem, read_request
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.crypto.roster import RosterEntry

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def key(number: int) -> ec.EllipticCurvePrivateKey:
    """The same key in every run: an input that fails, fails again."""
    return ec.derive_private_key(number, ec.SECP256R1())


@cache
def authority() -> CertificateAuthority:
    return CertificateAuthority.create("fuzz", serial=1, now=NOW, key=key(11))


def entry() -> RosterEntry:
    return RosterEntry("alpha", "client", bytes(range(32)), "fuzz", 1_700_000_000)


@cache
def signing_request() -> bytes:
    return new_request(private_pem(key(12)))


@cache
def certificate() -> bytes:
    return authority().issue(read_request(signing_request()), entry().subject, serial=2, now=NOW)
