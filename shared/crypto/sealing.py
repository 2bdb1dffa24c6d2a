"""Sealed messages between two clients, carried by a server that must not read them: AES-256-GCM (NIST SP 800-38D).

The key is fresh for a round, a pair and a direction (`derive` under SEAL with `directed_info`), and the nonce is random
all the same: a client that seals twice after a restart repeats neither. Key and nonce are no commitment to a plaintext
(GCM opens under more than one key); who must prove what it received publishes `agreement.key_tag` of the key.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from roughfed.crypto.agreement import DIGEST_BYTES, KEY_BYTES, directed_info
from roughfed.crypto.entropy import Entropy, draw
from roughfed.errors import LocalProtocolError, RemoteProtocolError

NONCE_BYTES = 12
OVERHEAD_BYTES = NONCE_BYTES + 16  # and the tag

_DOMAIN = b"roughfed sealed v1\0"


def sealing_aad(header_digest: bytes, group: int, *, sender: str, receiver: str, roster_digest: bytes) -> bytes:
    """What a sealed message is bound to: round, group, direction, and the keys that everybody was shown.

    Raises:
        LocalProtocolError: not digests, or a message to oneself.
    """
    if len(roster_digest) != DIGEST_BYTES:
        raise LocalProtocolError(f"a roster digest of {len(roster_digest)} bytes, want {DIGEST_BYTES}")
    return _DOMAIN + roster_digest + directed_info(header_digest, group, sender, receiver)


def seal(key: bytes, plaintext: bytes, *, aad: bytes, entropy: Entropy) -> bytes:
    """Encrypt and authenticate.

    Args:
        key: 32 bytes, for this round, pair and direction only.
        plaintext: any bytes.
        aad: what it is bound to, from `sealing_aad`.
        entropy: source of the nonce.

    Returns:
        nonce, ciphertext and tag: OVERHEAD_BYTES more than the plaintext.

    Raises:
        LocalProtocolError: not a 32-byte key.
    """
    nonce = draw(entropy, NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, plaintext, aad)


def open_sealed(key: bytes, sealed: bytes, *, aad: bytes) -> bytes:
    """Decrypt what `seal` made.

    Raises:
        RemoteProtocolError: `reason="sealing"`; cut, changed, for somebody else, or under another key.
        LocalProtocolError: not a 32-byte key.
    """
    cipher = _cipher(key)
    if len(sealed) < OVERHEAD_BYTES:
        raise RemoteProtocolError(
            f"a sealed message of {len(sealed)} bytes, want at least {OVERHEAD_BYTES}", reason="sealing"
        )
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
    except InvalidTag:
        raise RemoteProtocolError(
            f"a sealed message of {len(sealed)} bytes does not open: changed, or sealed for something else",
            reason="sealing",
        ) from None


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:  # AESGCM alone would take 16 and 24 bytes too
        raise LocalProtocolError(f"a sealing key of {len(key)} bytes, want {KEY_BYTES}")
    return AESGCM(key)
