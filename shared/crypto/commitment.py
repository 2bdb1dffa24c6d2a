"""Commitments: a client publishes H(b) before anything depends on b, and a restored b is held against it.

SHA-256 over a domain, whose b it is, and b. It hides b because b has 256 random bits, and it binds because SHA-256
resists collisions. It is published before there are groups: the round's header and the name are its context.
"""

from __future__ import annotations

import hashlib
import hmac

from roughfed.crypto.agreement import DIGEST_BYTES
from roughfed.errors import LocalProtocolError

SECRET_BYTES = 32

_DOMAIN = b"roughfed commitment v1\0"


def commit(secret: bytes, header_digest: bytes, name: str) -> bytes:
    """Commit to a secret.

    Args:
        secret: 32 random bytes; a guessable secret would not be hidden.
        header_digest: digest of the round's header, 32 bytes.
        name: whose secret it is.

    Returns:
        32 bytes.

    Raises:
        LocalProtocolError: a secret or a digest of another length.
    """
    if len(secret) != SECRET_BYTES or len(header_digest) != DIGEST_BYTES:
        raise LocalProtocolError(
            f"secret and digest of {len(secret)} and {len(header_digest)} bytes, want {SECRET_BYTES} and {DIGEST_BYTES}"
        )
    owner = name.encode()
    return hashlib.sha256(_DOMAIN + header_digest + len(owner).to_bytes(2, "big") + owner + secret).digest()


def opens(commitment: bytes, secret: bytes, header_digest: bytes, name: str) -> bool:
    """Is `secret` what was committed to? Compares in constant time; a commitment of another length is just false.

    Raises:
        LocalProtocolError: a secret or a digest of another length.
    """
    return hmac.compare_digest(commitment, commit(secret, header_digest, name))
