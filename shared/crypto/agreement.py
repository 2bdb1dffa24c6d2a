"""Keys that two clients share without the server: X25519 (RFC 7748) and HKDF-SHA256 (RFC 5869).

A shared secret is never used itself. Each use derives its own key under a purpose (`MASK`, `SEAL`, ...) and an info
that says whose key it is and in which round: nothing from one round, group or pair works in another.

An info is a fixed 32-byte header digest, then length-prefixed parts: two different contexts never encode alike.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from roughfed.crypto.entropy import Entropy, draw
from roughfed.errors import LocalProtocolError, RemoteProtocolError

KEY_BYTES = 32
DIGEST_BYTES = 32

MASK = b"roughfed mask v1\0"  # the mask of a pair
SELF = b"roughfed self mask v1\0"  # the mask of one client, from its secret b
SEAL = b"roughfed seal v1\0"  # the shares of one dealer for one holder
TAG = b"roughfed tag v1\0"  # says which key two clients have without telling the key

_SALT = b"roughfed hkdf v1"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An X25519 key of one round; its repr shows, and its equality compares, the public half only.

    Attributes:
        private: 32 secret bytes, as they are written ahead and shared among the group.
        public: 32 bytes, as they are published.
    """

    private: bytes = field(repr=False, compare=False)
    public: bytes

    @classmethod
    def generate(cls, entropy: Entropy) -> KeyPair:
        """A fresh key from 32 bytes of `entropy`."""
        return cls.from_private_bytes(draw(entropy, KEY_BYTES))

    @classmethod
    def from_private_bytes(cls, private: bytes) -> KeyPair:
        """A known key: after a restart, or put together again from its shares.

        Raises:
            LocalProtocolError: not 32 bytes.
        """
        return cls(private, _private_key(private).public_key().public_bytes_raw())

    def is_public(self, public: bytes) -> bool:
        """Does this private half belong to `public`? What a reconstructed key is held against."""
        return hmac.compare_digest(self.public, public)


def exchange(private: bytes, public: bytes) -> bytes:
    """Agree on a secret with the owner of `public`.

    Args:
        private: own private key, 32 bytes.
        public: the peer's public key, 32 bytes.

    Returns:
        32 bytes, the same for both; to be passed through `derive`, never used itself.

    Raises:
        RemoteProtocolError: `reason="key"`; malformed, or a point of low order, which makes the secret known to all.
        LocalProtocolError: `private` is not 32 bytes.
    """
    own = _private_key(private)
    if len(public) != KEY_BYTES:
        raise RemoteProtocolError(f"public key of {len(public)} bytes, want {KEY_BYTES}", reason="key")
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:  # OpenSSL refuses an all-zero result
        shared = bytes(KEY_BYTES)
    if hmac.compare_digest(shared, bytes(KEY_BYTES)):
        raise RemoteProtocolError("public key of low order: the shared secret would be zero", reason="key")
    return shared


def derive(secret: bytes, purpose: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    """A key for one purpose, by HKDF-SHA256 over a secret.

    Args:
        secret: at least 32 bytes: a shared secret, b, or a key to be tagged.
        purpose: a domain tag such as MASK; ends in its only zero byte, so that no purpose begins another.
        info: whose key, in which round: from `pair_info`, `directed_info` or `member_info`.
        length: bytes wanted.

    Raises:
        LocalProtocolError: a short secret, or a purpose that is none.
    """
    if purpose.find(b"\0") != len(purpose) - 1 or len(purpose) < 2:
        raise LocalProtocolError(f"key purpose {purpose!r}: must end in its only zero byte")
    if len(secret) < KEY_BYTES:
        raise LocalProtocolError(f"a secret of {len(secret)} bytes, want at least {KEY_BYTES}")
    return HKDF(algorithm=SHA256(), length=length, salt=_SALT, info=purpose + info).derive(secret)


def key_tag(key: bytes, info: bytes) -> bytes:
    """What both owners of `key` publish, so that a key opened later can be held against it. Tells nothing of the key.

    It is derived from the key, not from the shared secret beside it: opening one key must open nothing else.
    """
    return derive(key, TAG, info)


def pair_info(header_digest: bytes, group: int, a: str, b: str) -> bytes:
    """The info of what two members share; the same for (a, b) and (b, a).

    Raises:
        LocalProtocolError: not a header digest, or one member twice.
    """
    if a == b:
        raise LocalProtocolError(f"{a!r} is no pair with itself")
    return _context(b"pair", header_digest, group, *sorted((a.encode(), b.encode())))


def directed_info(header_digest: bytes, group: int, sender: str, receiver: str) -> bytes:
    """The info of what one member sends another; the way back has another.

    Raises:
        LocalProtocolError: not a header digest, or one member twice.
    """
    if sender == receiver:
        raise LocalProtocolError(f"{sender!r} sends nothing to itself")
    return _context(b"directed", header_digest, group, sender.encode(), receiver.encode())


def member_info(header_digest: bytes, group: int, member: str) -> bytes:
    """The info of what belongs to one member alone.

    Raises:
        LocalProtocolError: not a header digest, or no name.
    """
    return _context(b"member", header_digest, group, member.encode())


def _context(kind: bytes, header_digest: bytes, group: int, *names: bytes) -> bytes:
    if len(header_digest) != DIGEST_BYTES:
        raise LocalProtocolError(f"a header digest of {len(header_digest)} bytes, want {DIGEST_BYTES}")
    if not 0 <= group < 2**32 or not all(names):
        raise LocalProtocolError(f"group {group} and {len(names)} names: want 32 bits and no empty name")
    parts = [header_digest, group.to_bytes(4, "big")]
    for part in (kind, *names):
        parts += [len(part).to_bytes(2, "big"), part]
    return b"".join(parts)


def _private_key(private: bytes) -> X25519PrivateKey:
    if len(private) != KEY_BYTES:
        raise LocalProtocolError(f"a private key of {len(private)} bytes, want {KEY_BYTES}")
    return X25519PrivateKey.from_private_bytes(private)
