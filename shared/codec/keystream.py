"""AES-256-CTR as a source of bytes: public ones from a seed, secret ones from a client's secret.

numpy's generators are not used: what every party must repeat is fixed by a standard (NIST SP 800-38A), and a client's
dither must be as hard to guess as its masks.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from roughfed.errors import LocalProtocolError

KEY_BYTES = 32
CHUNK_BYTES = 256 * 1024  # stays in the cache: larger buffers cost page faults

_ZEROS = bytes(CHUNK_BYTES)  # encrypting zeros gives the key stream itself


class Keystream:
    """The stream of one key and one purpose, from its first byte on."""

    def __init__(self, seed: bytes, purpose: str) -> None:
        """Derive the key.

        Args:
            seed: 32 bytes, public or secret.
            purpose: what the bytes are for; streams of different purposes are independent.

        Raises:
            LocalProtocolError: a seed of another length.
        """
        if len(seed) != KEY_BYTES:
            raise LocalProtocolError(f"a seed of {len(seed)} bytes, want {KEY_BYTES}")
        key = hashlib.sha256(b"roughfed codec v1\0" + purpose.encode() + b"\0" + seed).digest()
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def fill(self, out: memoryview) -> None:
        """Overwrite a buffer with the next bytes of the stream."""
        flat = out.cast("B")
        for at in range(0, len(flat), CHUNK_BYTES):
            part = flat[at : at + CHUNK_BYTES]
            self._cipher.update_into(_ZEROS[: len(part)], part)
