"""The certificate authority's key at work: it makes itself, issues leaf certificates, signs roster entries.

Beside it, the request to a CA of somebody else's for the same kind of certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from roughfed.crypto import member_list, roster
from roughfed.crypto.certificates import (
    CLOCK_SKEW,
    LEAF_LIFE,
    PURPOSE,
    SERVER_HOST,
    federation_of,
    load_certificate,
    load_private,
    private_pem,
)
from roughfed.crypto.names import Subject, check_name
from roughfed.errors import IdentityError

CA_LIFE = timedelta(days=3652)


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """The CA of one federation: a P-256 key and its self-signed certificate (PEM)."""

    _key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: bytes

    @classmethod
    def create(
        cls, federation: str, *, serial: int, now: datetime, key: ec.EllipticCurvePrivateKey | None = None
    ) -> CertificateAuthority:
        """A new CA with a fresh key (or a known one, in a simulation), valid for ten years.

        It can issue leaves but no further CAs.

        Raises:
            IdentityError: `reason="name"`; the federation id is not [a-z0-9-]{1,63}.
        """
        check_name(federation, what="federation")
        key = key or ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, federation),
                x509.NameAttribute(NameOID.COMMON_NAME, "roughfed CA"),
            ]
        )
        builder = _builder(key.public_key(), subject=name, issuer=name, serial=serial)
        builder = builder.not_valid_before(now - CLOCK_SKEW).not_valid_after(now + CA_LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(ca=True), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    @classmethod
    def load(cls, key: bytes, certificate: bytes) -> CertificateAuthority:
        """Put key and certificate (PEM) together.

        Raises:
            IdentityError: `reason="key"` or `"certificate"`; unreadable, or they do not belong together.
        """
        private = load_private(key)
        if load_certificate(certificate).public_key() != private.public_key():
            raise IdentityError("the CA's key does not belong to its certificate", reason="key")
        return cls(private, certificate)

    @property
    def key(self) -> bytes:
        """The private key (PEM), for its file only."""
        return private_pem(self._key)

    @property
    def federation(self) -> str:
        """Federation id."""
        return federation_of(self.certificate)

    def issue(
        self,
        public_key: ec.EllipticCurvePublicKey,
        subject: Subject,
        *,
        serial: int,
        now: datetime,
        life: timedelta = LEAF_LIFE,
    ) -> bytes:
        """Issue a leaf certificate; its role decides its purpose, so a client can never pass as the server.

        Args:
            public_key: P-256, out of a checked signing request.
            subject: whom to certify; of this federation.
            serial: random, positive.
            now: aware; valid from five minutes before, for clocks that are late.
            life: from now on.

        Returns:
            PEM.
        """
        ca = load_certificate(self.certificate)
        common_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.name)])
        builder = _builder(public_key, subject=common_name, issuer=ca.subject, serial=serial)
        builder = builder.not_valid_before(now - CLOCK_SKEW).not_valid_after(min(now + life, ca.not_valid_after_utc))
        for extension, critical in _said_of(subject):
            builder = builder.add_extension(extension, critical=critical)
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(own, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def sign_roster(self, entry: bytes) -> bytes:
        """Sign a serialized roster entry: DER, see `roughfed.crypto.roster`."""
        return roster.sign_entry(self._key, entry)

    def sign_members(self, body: bytes) -> bytes:
        """Sign a serialized list of members: DER, see `roughfed.crypto.member_list`."""
        return member_list.sign_list(self._key, body)


def new_request(tls_key: bytes, subject: Subject, *, organisation: str = "") -> bytes:
    """A signing request (PEM) for a CA that is not roughfed's: it says all that the certificate must say.

    Raises:
        IdentityError: `reason="key"`.
    """
    names = [x509.NameAttribute(NameOID.COMMON_NAME, subject.name)]
    if organisation:
        names.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    for extension, critical in _said_of(subject):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(load_private(tls_key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _said_of(subject: Subject) -> list[tuple[x509.ExtensionType, bool]]:
    """What a member's certificate says of it, and whether that is critical."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(subject.uri)]
    if subject.role == "server":
        names.append(x509.DNSName(SERVER_HOST))
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(ca=False), True),
        (x509.ExtendedKeyUsage([PURPOSE[subject.role]]), True),
        (x509.SubjectAlternativeName(names), False),
    ]


def _builder(
    public_key: ec.EllipticCurvePublicKey, *, subject: x509.Name, issuer: x509.Name, serial: int
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    return builder.public_key(public_key).serial_number(serial).add_extension(identifier, critical=False)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,  # the CA signs roster entries, too
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
