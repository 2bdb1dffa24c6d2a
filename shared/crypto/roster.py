"""The roster entry: the CA's word on which identity key belongs to which name.

Other members check it without meeting the CA; it outlives the short TLS certificate. It is signed and verified as
serialized bytes; `roughfed.wire.enrolment` knows the serialization.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from roughfed.crypto.names import Role, Subject
from roughfed.errors import IdentityError

ROSTER_DOMAIN = b"roughfed roster v1\0"


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """A member of the federation (proto/v1/secagg.proto, RosterEntry).

    Attributes:
        name: enrolled name, [a-z0-9-]{1,63}.
        role: "client" or "server".
        identity_key: Ed25519 public key, 32 bytes.
        federation: federation id.
        enrolled_at: Unix seconds of the enrolment.
    """

    name: str
    role: Role
    identity_key: bytes
    federation: str
    enrolled_at: int

    @property
    def subject(self) -> Subject:
        """The same member as its certificate names it."""
        return Subject(self.federation, self.role, self.name)


def sign_entry(ca_key: ec.EllipticCurvePrivateKey, entry: bytes, *, deterministic: bool = False) -> bytes:
    """Certify a serialized roster entry.

    Returns:
        a DER-encoded ECDSA P-256 / SHA-256 signature over ROSTER_DOMAIN + entry.
    """
    return ca_key.sign(ROSTER_DOMAIN + entry, ec.ECDSA(hashes.SHA256(), deterministic_signing=deterministic))


def verify_entry(ca_certificate: bytes, entry: bytes, signature: bytes) -> None:
    """Check the CA's signature over a serialized roster entry.

    Args:
        ca_certificate: PEM.
        entry: the entry as it was sent.
        signature: DER.

    Raises:
        IdentityError: `reason="roster"`; this CA did not sign this entry.
    """
    key = x509.load_pem_x509_certificate(ca_certificate).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise IdentityError("the CA's key is not P-256", reason="roster")
    try:
        key.verify(signature, ROSTER_DOMAIN + entry, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise IdentityError("the roster entry is not signed by this federation's CA", reason="roster") from None
