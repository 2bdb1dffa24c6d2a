"""X.509: what the federation's certificates say, and how they are checked. PEM in, PEM out.

The CA alone decides what stands in a certificate; of a signing request only the public key is used.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from roughfed.crypto.names import Role, Subject, subject_of
from roughfed.errors import IdentityError

# Clients demand this name of the server: trust hangs on the private CA and the role, not on where the server runs.
SERVER_HOST = "server.roughfed.internal"
LEAF_LIFE = timedelta(days=7)
CLOCK_SKEW = timedelta(minutes=5)
MAX_CSR_BYTES = 8192

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
    """Read a certificate, and at once all that is looked at later: the library reads names and key only when asked.

    Raises:
        IdentityError: `reason="certificate"`.
    """
    try:
        loaded = x509.load_pem_x509_certificate(pem)
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
    loaded = load_certificate(certificate)
    start, end = loaded.not_valid_before_utc, loaded.not_valid_after_utc
    if now > end:
        raise IdentityError(f"the certificate expired at {end:%Y-%m-%d %H:%M} UTC", reason="expired")
    if now < start:
        raise IdentityError(
            f"the certificate is valid from {start:%Y-%m-%d %H:%M} UTC on; this machine's clock says "
            f"{now:%Y-%m-%d %H:%M} UTC: is it right?",
            reason="not-yet-valid",
        )


def check_purpose(certificate: bytes, *, role: Role) -> Subject:
    """Check that a certificate is for this role and no other. Says nothing on whether to trust it.

    Raises:
        IdentityError: `reason` is "role", "san" or "certificate".
    """
    subject = identity_of(certificate)
    try:
        purposes = list(load_certificate(certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        purposes = []
    if subject.role != role or purposes != [PURPOSE[role]]:
        raise IdentityError(f"the certificate of {subject.name!r} is not a {role}'s", reason="role")
    return subject


def check_issued(certificate: bytes, ca_certificate: bytes, *, role: Role, now: datetime) -> Subject:
    """Check a leaf certificate whole: issuer, validity, purpose and name.

    Args:
        certificate: PEM of the leaf.
        ca_certificate: PEM of the CA that must have issued it.
        role: what its holder claims to be.
        now: aware.

    Returns:
        whom it names.

    Raises:
        IdentityError: `reason` is "issuer", "expired", "not-yet-valid", "role", "san" or "certificate".
    """
    leaf, issuer = load_certificate(certificate), load_certificate(ca_certificate)
    try:
        leaf.verify_directly_issued_by(issuer)
    except (*_UNREADABLE, InvalidSignature):
        raise IdentityError("the certificate was not issued by this federation's CA", reason="issuer") from None
    check_validity(certificate, now=now)
    subject = check_purpose(certificate, role=role)
    if subject.federation != (federation := federation_of(ca_certificate)):
        raise IdentityError(
            f"the certificate is of federation {subject.federation!r}, not {federation!r}", reason="san"
        )
    return subject


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


def only_certificate(pem: bytes) -> bytes:
    """The first certificate of a PEM text, and nothing that stands beside it.

    TLS libraries trust *every* certificate in their root PEM: what was checked is one, so one is what may be used.
    """
    return load_certificate(pem).public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate: bytes) -> bytes:
    """SHA-256 of a certificate's DER form, 32 bytes."""
    return hashlib.sha256(load_certificate(certificate).public_bytes(serialization.Encoding.DER)).digest()


def serial_of(certificate: bytes) -> int:
    """The serial number: tells the certificates of one member apart."""
    return load_certificate(certificate).serial_number


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
