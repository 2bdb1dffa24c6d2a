"""X.509: what the federation's certificates say, and how they are checked. PEM in, PEM out.

The federation's own CA alone decides what stands in a certificate; of a signing request only the public key is used.
A CA of somebody else's is given a request that says all of it, and what it signed is checked (`check_issued`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from roughfed.crypto.names import Role, Subject, check_name, subject_of
from roughfed.errors import IdentityError

# Clients demand this name of the server: trust hangs on the private CA and the role, not on where the server runs.
SERVER_HOST = "server.roughfed.internal"
LEAF_LIFE = timedelta(days=7)
CLOCK_SKEW = timedelta(minutes=5)
MAX_CSR_BYTES = 8192
MAX_CHAIN, MAX_CHAIN_BYTES = 3, 8192
"""Certificates that a member shows, its own and two intermediates, and their DER bytes in all."""


PURPOSE: dict[Role, ObjectIdentifier] = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
}


_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library says of bytes that are no certificate, or one that nobody here issues."""

_UNDERSTOOD = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
"""What may be critical in a CA's certificate."""

_ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def new_tls_key() -> bytes:
    """A fresh P-256 private key (PEM, PKCS8) from the operating system's entropy."""
    return private_pem(ec.generate_private_key(ec.SECP256R1()))


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The PKCS8 PEM form, not encrypted: the file's permissions protect it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Read a P-256 private key.

    Raises:
        IdentityError: `reason="key"`.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError("this is not a P-256 private key (PEM, PKCS8)", reason="key")
    return key


def load_certificate(pem: bytes) -> x509.Certificate:
    """Read the first certificate of a PEM text, and at once all that is looked at later: the library waits with it.

    Raises:
        IdentityError: `reason="certificate"`.
    """
    return _load(lambda: x509.load_pem_x509_certificate(pem))


def load_chain(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Read a member's certificate and the intermediates behind it (PEM), in this order.

    Raises:
        IdentityError: `reason="certificate"`; malformed, or more than a chain has.
    """
    return _few([_load(partial(x509.load_pem_x509_certificate, each)) for each in _PEM.findall(pem)])


def decode_chain(ders: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """The same from DER, as another member sends it."""
    if len(ders) > MAX_CHAIN or sum(map(len, ders)) > MAX_CHAIN_BYTES:
        raise IdentityError(f"a chain of {len(ders)} certificates, or a long one", reason="certificate")
    return _few([_load(partial(x509.load_der_x509_certificate, each)) for each in ders])


def encode_chain(pem: bytes) -> tuple[bytes, ...]:
    """A chain from PEM to DER, to be sent.

    Raises:
        IdentityError: `reason="certificate"`; malformed, or too long.
    """
    ders = tuple(each.public_bytes(serialization.Encoding.DER) for each in load_chain(pem))
    if (size := sum(map(len, ders))) > MAX_CHAIN_BYTES:
        raise IdentityError(f"the chain has {size} bytes (DER), at most {MAX_CHAIN_BYTES} go", reason="certificate")
    return ders


def chain_below(pem: bytes, root: bytes) -> bytes:
    """The certificates of a PEM text without the root (PEM): who trusts it has it.

    Raises:
        IdentityError: `reason="certificate"`; malformed, none, or more than a chain has.
    """
    kept = b"".join(map(pem_of, (load_certificate(each) for each in _PEM.findall(pem))))
    return b"".join(map(pem_of, load_chain(kept.replace(only_certificate(root), b""))))


def pem_of(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _few(chain: list[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    if not 1 <= len(chain) <= MAX_CHAIN:
        said = f"{len(chain)} certificates: want the member's own, and at most {MAX_CHAIN - 1} intermediates"
        raise IdentityError(said, reason="certificate")
    return tuple(chain)


def _load(read: Callable[[], x509.Certificate]) -> x509.Certificate:
    try:
        loaded = read()
        _ = loaded.public_key(), loaded.subject, loaded.issuer, loaded.extensions, loaded.signature_hash_algorithm
        _ = loaded.not_valid_before_utc, loaded.not_valid_after_utc
    except _UNREADABLE:
        raise IdentityError("this is not an X.509 certificate (PEM)", reason="certificate") from None
    if loaded.serial_number < 1:  # RFC 5280, 4.1.2.2; the library only warns of it as yet
        raise IdentityError("the certificate's serial number is not positive", reason="certificate")
    return loaded


def new_request(tls_key: bytes) -> bytes:
    """A signing request for a P-256 key (PEM): it carries the public key and nothing else.

    Raises:
        IdentityError: `reason="key"`.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(load_private(tls_key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def read_request(csr: bytes) -> ec.EllipticCurvePublicKey:
    """Take the public key out of a signing request; subject and extensions are not even looked at.

    Raises:
        IdentityError: `reason="csr"`; malformed, too long, not P-256, or not signed by its own key.
    """
    if len(csr) > MAX_CSR_BYTES:
        raise IdentityError(f"the signing request has {len(csr)} bytes, at most {MAX_CSR_BYTES} go", reason="csr")
    try:
        request = x509.load_pem_x509_csr(csr)
        key = request.public_key()
        signed = request.is_signature_valid
    except _UNREADABLE:
        raise IdentityError("this is not a certificate signing request (PEM)", reason="csr") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError("the signing request's key is not P-256", reason="csr")
    if not signed:
        raise IdentityError("the signing request is not signed by its own key", reason="csr")
    return key


def identity_of(certificate: bytes) -> Subject:
    """Whom a certificate names: federation, role, name. Says nothing on whether to trust it.

    Raises:
        IdentityError: `reason="certificate"` or `"san"`.
    """
    try:
        names = load_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        raise IdentityError("the certificate has no subject alternative name", reason="san") from None
    return subject_of(names.get_values_for_type(x509.UniformResourceIdentifier))


def check_validity(certificate: bytes, *, now: datetime) -> None:
    """Check that a certificate is valid now.

    Raises:
        IdentityError: `reason="expired"` or `"not-yet-valid"`.
    """
    _check_dates(load_certificate(certificate), now, "the certificate")


def _check_dates(loaded: x509.Certificate, now: datetime, what: str) -> None:
    start, end = loaded.not_valid_before_utc, loaded.not_valid_after_utc
    if now > end:
        raise IdentityError(f"{what} expired at {end:%Y-%m-%d %H:%M} UTC", reason="expired")
    if now < start:
        raise IdentityError(
            f"{what} is valid from {start:%Y-%m-%d %H:%M} UTC on; this machine's clock says "
            f"{now:%Y-%m-%d %H:%M} UTC: is it right?",
            reason="not-yet-valid",
        )


def check_purpose(certificate: bytes, *, role: Role) -> Subject:
    """Check that a certificate is for this role and no other. Says nothing on whether to trust it.

    Raises:
        IdentityError: `reason` is "role", "san" or "certificate".
    """
    subject = identity_of(certificate)
    extensions = load_certificate(certificate).extensions
    try:
        purposes = list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        purposes = []
    if subject.role != role or purposes != [PURPOSE[role]]:
        raise IdentityError(f"the certificate of {subject.name!r} is not a {role}'s", reason="role")
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if role == "server" and SERVER_HOST not in names.get_values_for_type(x509.DNSName):
        raise IdentityError(f"the server's certificate has no DNS name {SERVER_HOST}", reason="san")
    return subject


def check_issued(
    certificate: bytes, ca_certificate: bytes, *, role: Role, now: datetime | None, federation: str = ""
) -> Subject:
    """Check a member's certificate whole: the way to the CA, validity, purpose and name.

    Args:
        certificate: PEM of the leaf, then of intermediates if the CA did not issue it itself.
        ca_certificate: PEM of the CA that is trusted.
        role: what its holder claims to be.
        now: aware; None: dates do not matter.
        federation: that it must name; empty: that of roughfed's own CA, which names it.

    Returns:
        whom it names.

    Raises:
        IdentityError: `reason` is "issuer", "expired", "not-yet-valid", "role", "san" or "certificate".
    """
    chain = load_chain(certificate)
    check_chain(chain, load_certificate(ca_certificate), purpose=PURPOSE[role], now=now)
    subject = check_purpose(certificate, role=role)
    if subject.federation != (federation := federation or federation_of(ca_certificate)):
        raise IdentityError(
            f"the certificate is of federation {subject.federation!r}, not {federation!r}", reason="san"
        )
    return subject


def check_chain(
    chain: Sequence[x509.Certificate], root: x509.Certificate, *, purpose: ObjectIdentifier, now: datetime | None
) -> None:
    """Follow a leaf to the root that is trusted (RFC 5280, section 6, without lists of revoked certificates).

    Constraints on names are not worked out, so a CA that has some, or anything critical that is unknown, is refused.

    Args:
        chain: leaf, then intermediates; each is issued by the next one, the last one by `root`.
        root: trusted.
        purpose: the leaf's extended key usage; a CA that has some must have it, too.
        now: aware; None: dates do not matter.

    Raises:
        IdentityError: `reason` is "issuer", "expired" or "not-yet-valid".
    """
    issuers = (*chain[1:], root)
    for below, (each, issuer) in enumerate(zip(chain, issuers, strict=True)):
        what = "the certificate" if each is chain[0] else f"the intermediate {_named(each)}"
        try:
            each.verify_directly_issued_by(issuer)
        except (*_UNREADABLE, InvalidSignature):
            ca = "this federation's CA" if issuer is root else "the next one in the chain"
            raise IdentityError(f"{what} was not issued by {ca}", reason="issuer") from None
        if isinstance(each.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
            raise IdentityError(f"{what} is signed with a hash that can be forged", reason="issuer")
        _check_authority(issuer, below=below, purpose=purpose)
        if now is not None:
            _check_dates(each, now, what)
    if now is not None:
        _check_dates(root, now, "the CA's certificate")


def _check_authority(issuer: x509.Certificate, *, below: int, purpose: ObjectIdentifier) -> None:
    """Whether a certificate may issue others, with so many intermediates between it and the leaf."""
    said: dict[type, x509.ExtensionType] = {type(each.value): each.value for each in issuer.extensions}
    basic, usage, purposes = (said.get(each) for each in _UNDERSTOOD)
    unknown = [each.oid for each in issuer.extensions if each.critical and type(each.value) not in _UNDERSTOOD]
    why = ""
    if not isinstance(basic, x509.BasicConstraints) or not basic.ca:
        why = "is no CA's"
    elif basic.path_length is not None and basic.path_length < below:
        why = f"allows {basic.path_length} intermediates below it, there are {below}"
    elif isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        why = "may not sign certificates"
    elif isinstance(purposes, x509.ExtendedKeyUsage) and not {purpose, _ANY} & set(purposes):
        why = "is for other purposes"
    elif unknown:
        why = f"has constraints that roughfed does not work out ({unknown[0].dotted_string})"
    if why:
        raise IdentityError(f"the certificate of {_named(issuer)} {why}", reason="issuer")


def _named(certificate: x509.Certificate) -> str:
    """A CA's name for an error: a peer chose it, and a log gets it."""
    return "".join(c for c in certificate.subject.rfc4514_string() if c.isascii() and c.isprintable())[:80]


def check_key(certificate: bytes, tls_key: bytes) -> None:
    """Check that a certificate is for this private key.

    Raises:
        IdentityError: `reason="key"`.
    """
    if load_certificate(certificate).public_key() != load_private(tls_key).public_key():
        raise IdentityError("the certificate is for another key", reason="key")


def federation_of(ca_certificate: bytes) -> str:
    """The federation id that a CA certificate carries in its organisation."""
    attributes = load_certificate(ca_certificate).subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(attributes[0].value) if attributes else ""


def organisation_of(certificate: x509.Certificate) -> str:
    """The organisation that a member's certificate names, where that is a name as members have; else empty."""
    found = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    with suppress(IdentityError):
        return check_name(str(found[0].value)) if found else ""
    return ""


def only_certificate(pem: bytes) -> bytes:
    """The first certificate of a PEM text, and nothing that stands beside it.

    TLS libraries trust *every* certificate in their root PEM: what was checked is one, so one is what may be used.
    """
    return pem_of(load_certificate(pem))


def fingerprint(certificate: bytes) -> bytes:
    """SHA-256 of a certificate's DER form, 32 bytes."""
    return hashlib.sha256(load_certificate(certificate).public_bytes(serialization.Encoding.DER)).digest()


def described(name: str, certificate: bytes) -> dict[str, Any]:
    """What its operator is told of a new certificate: whose, its serial number (hex), its end (Unix seconds)."""
    loaded = load_certificate(certificate)
    end = loaded.not_valid_after_utc.timestamp()
    return {"rotated": name, "serial": f"{loaded.serial_number:x}", "expires_at": end}


def renew_at(certificate: bytes) -> datetime:
    """When to ask for the next one: at two thirds of its life."""
    loaded = load_certificate(certificate)
    start, end = loaded.not_valid_before_utc, loaded.not_valid_after_utc
    return start + (end - start) * 2 / 3
