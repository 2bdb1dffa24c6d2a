"""A CA of somebody else's, with intermediates: it signs what a request says, as openssl does that copies extensions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class ExternalCA:
    """A certificate, its key, and the chain above it without the root (PEM)."""

    key: Key
    certificate: x509.Certificate
    chain: bytes = b""

    @classmethod
    def root(cls, name: str = "Example Corp Root") -> ExternalCA:
        """A root of an organisation, with a key that is not roughfed's kind."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return cls(key, built(subject=named(name), issuer=named(name), public=key.public_key(), signer=key))

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """Its key, for whoever signs with another program."""
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())

    def intermediate(
        self, name: str = "Example Corp Issuing", *, ends: timedelta = 100 * DAY, extensions: Extensions = ()
    ) -> ExternalCA:
        """A CA below this one."""
        key = ec.generate_private_key(ec.SECP384R1())
        certificate = built(
            subject=named(name), issuer=self.certificate.subject, public=key.public_key(), signer=self.key, ends=ends,
            extensions=extensions,
        )  # fmt: skip
        own = certificate.public_bytes(serialization.Encoding.PEM)
        return ExternalCA(key, certificate, own + self.chain)

    def sign(self, request: bytes, *, ends: timedelta = 10 * DAY) -> bytes:
        """A certificate for all that a request says (PEM), without the chain."""
        asked = x509.load_pem_x509_csr(request)
        assert asked.is_signature_valid
        said = [(each.value, each.critical) for each in asked.extensions]
        certificate = built(
            subject=asked.subject, issuer=self.certificate.subject, public=asked.public_key(), signer=self.key,
            ends=ends, ca=False, extensions=said,
        )  # fmt: skip
        return certificate.public_bytes(serialization.Encoding.PEM)


Extensions = list[tuple[x509.ExtensionType, bool]] | tuple[()]
SERVES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def named(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Corp"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def built(
    *,
    subject: x509.Name,
    issuer: x509.Name,
    public: object,
    signer: Key,
    ends: timedelta = 1000 * DAY,
    ca: bool = True,
    extensions: Extensions = (),
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)  # pyright: ignore[reportArgumentType]
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - (200 * DAY if ca else DAY / 24)).not_valid_after(now + ends)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer, hashes.SHA256())
