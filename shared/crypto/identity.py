"""The Ed25519 identity of a member: what it signs its updates, headers and requests with.

Every signature covers a domain tag + body, so that a signature made for one purpose never verifies for another.
A tag ends in its only zero byte: no tag is the beginning of another tag's message.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from roughfed.crypto.key_file import read_private, write_private
from roughfed.errors import ConfigError, IdentityError, LocalProtocolError

ENROL_DOMAIN = b"roughfed enrol v1\0"
RENEW_DOMAIN = b"roughfed renew v1\0"
RENEW_WINDOW_S = 300


@dataclass(frozen=True, slots=True)
class IdentityKey:
    """A private identity key; its repr shows, and its equality compares, the public half only."""

    _private: Ed25519PrivateKey = field(repr=False, compare=False)
    public_key: bytes

    @classmethod
    def generate(cls) -> IdentityKey:
        """A fresh key from the operating system's entropy."""
        return cls._wrap(Ed25519PrivateKey.generate())

    @classmethod
    def from_private_bytes(cls, seed: bytes) -> IdentityKey:
        """A known key, from its 32-byte seed (tests and vectors)."""
        return cls._wrap(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load(cls, path: Path) -> IdentityKey:
        """Read a PKCS8 PEM file.

        Raises:
            ConfigError: missing, readable by others, or not an Ed25519 key.
        """
        pem = read_private(path)
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError("this is not an Ed25519 private key (PEM, PKCS8)", file=str(path), cure="enrol anew")
        return cls._wrap(key)

    @classmethod
    def _wrap(cls, private: Ed25519PrivateKey) -> IdentityKey:
        return cls(private, private.public_key().public_bytes_raw())

    def save(self, path: Path) -> None:
        """Write a PKCS8 PEM file with permissions 0600, fsynced.

        Raises:
            StorageError: the disk refused.
        """
        write_private(path, self.pem())

    def pem(self) -> bytes:
        """The PKCS8 PEM form, for its file only."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def private_bytes(self) -> bytes:
        """The 32-byte seed: what keys for this client's own disk are derived from."""
        return self._private.private_bytes_raw()

    def sign(self, domain: bytes, body: bytes) -> bytes:
        """Sign domain + body.

        Returns:
            an Ed25519 signature, 64 bytes.

        Raises:
            LocalProtocolError: the domain is not one.
        """
        return self._private.sign(_message(domain, body))


def verify(public_key: bytes, domain: bytes, body: bytes, signature: bytes) -> None:
    """Check a signature over domain + body.

    Args:
        public_key: Ed25519 public key, 32 bytes.
        domain: what the signature is for: a tag such as ENROL_DOMAIN.
        body: the signed bytes, as they were sent.
        signature: 64 bytes.

    Raises:
        IdentityError: `reason="signature"`; it is not this key's signature for this purpose over these bytes.
    """
    message = _message(domain, body)
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        purpose = domain[:-1].decode("ascii", "replace")
        raise IdentityError(f"the signature for {purpose!r} does not verify", reason="signature") from None


def enrolment_body(token: bytes, csr: bytes) -> bytes:
    """What a newcomer signs to prove that it holds its identity key."""
    return hashlib.sha256(token).digest() + csr


def renewal_body(requested_at: int, csr: bytes) -> bytes:
    """What a member signs to get a fresh certificate; `requested_at` in Unix seconds."""
    return requested_at.to_bytes(8, "big") + csr


def _message(domain: bytes, body: bytes) -> bytes:
    if domain.find(b"\0") != len(domain) - 1 or len(domain) < 2:
        raise LocalProtocolError(f"signature domain {domain!r}: must end in its only zero byte")
    return domain + body
