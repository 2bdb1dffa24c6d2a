"""What the machines are given: the public terms of a round, and what a party brings of its own.

g is the size of a group, t the answers needed to unmask, U1 the members, U2 those who dealt shares, U3 those who
uploaded, A the accepted and X the rest of U2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from roughfed.crypto.agreement import derive
from roughfed.crypto.masks import Lanes
from roughfed.secagg.messages import Message
from roughfed.sketch.buckets import Sketcher, bucket_sizes
from roughfed.types import Signed

M = TypeVar("M")

ENTROPY = b"roughfed round entropy v1\0"


class Wire(Protocol):
    """Values to the bytes that get signed, and back (roughfed.wire.secagg)."""

    def encode(self, value: Message, /) -> bytes:
        """To bytes."""
        ...

    def decode(self, kind: type[M], data: bytes, /) -> M:
        """From bytes; raises RemoteProtocolError."""
        ...


@dataclass(frozen=True, slots=True)
class Terms:
    """What everybody knows of a round; all of it is in, or follows from, the signed round header.

    Attributes:
        header_digest: SHA-256 of the header's bytes, and of which tier of clients it is for.
        previous_header_digest: of the round before; zeros for the first.
        nonce_commitment: SHA-256 of the nonce that the server will reveal with the roster.
        server_key: Ed25519 key of the server.
        length: number of sent codes, D.
        bits: lane width, w.
        levels: L; codes are 0 .. L - 1.
        code_rms: root mean square of the centred codes of an update of norm C.
        dim: sketch buckets; 0 when the server sees sums only.
        tail: lanes behind the codes, masked and summed like them, never sketched (see `statistics`).
        epoch_beacon: what the groups follow from; empty when this round draws them anew.
        tier: number of the tier of clients, which its adverts name.
    """

    header_digest: bytes
    previous_header_digest: bytes
    nonce_commitment: bytes
    server_key: bytes
    length: int
    bits: int
    levels: int
    code_rms: float
    dim: int
    tail: int = 0
    epoch_beacon: bytes = b""
    tier: int = 1

    @property
    def lanes(self) -> int:
        """Lanes of an upload."""
        return self.length + self.tail

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Type of a lane."""
        return np.dtype(f"<u{self.bits // 8}")

    @property
    def zero(self) -> int:
        """The code that stands for 0."""
        return self.levels // 2

    @property
    def norm_unit(self) -> float:
        """Norm of the centred codes of an update of norm C."""
        return self.code_rms * self.length**0.5

    def relative_length(self, quarters: int) -> float:
        """Length of the codes of an update of norm C sent with a weight class, relative to one of weight 1.

        Rounding adds to the codes whatever the weight: a sixth of a step in mean square. A bound in proportion to the
        weight alone would find an honest client of weight 1/4 longer than it is.
        """
        rounding = 1 / (6 * self.code_rms**2)
        return float((((quarters / 4) ** 2 + rounding) / (1 + rounding)) ** 0.5) if quarters < 4 else 1.0

    def sketcher(self, root: bytes, colluders: int) -> Sketcher:
        """S for the root of all uploads."""
        seed = hashlib.sha256(b"roughfed sketch seed v1\0" + self.header_digest + root).digest()
        sizes = bucket_sizes(self.length, self.dim, bits=self.bits, code_rms=self.code_rms, colluders=colluders)
        return Sketcher(seed, self.length, self.dim, sizes=sizes, dtype=self.dtype, zero=self.zero)


@dataclass(frozen=True, slots=True)
class Party:
    """What a client brings.

    Attributes:
        name: enrolled name.
        sign: (domain, body) -> Ed25519 signature by its identity key.
        open_member: a CA-signed roster entry -> (name, Ed25519 key); raises IdentityError.
        wire: values to bytes and back.
    """

    name: str
    sign: Callable[[bytes, bytes], bytes]
    open_member: Callable[[bytes], tuple[str, bytes]]
    wire: Wire

    def signed(self, domain: bytes, value: Message) -> Signed:
        """A message under this party's signature."""
        body = self.wire.encode(value)
        return Signed(body, self.sign(domain, body), self.name)


def entropy_stream(secret: bytes) -> Callable[[int], bytes]:
    """All randomness of one client in one round, from one 32-byte secret of the operating system.

    The secret is what is written ahead: a restarted client that is shown the same messages makes the same bytes, and
    never other ones under the same keys.
    """
    stream = Cipher(algorithms.AES(derive(secret, ENTROPY, b"")), modes.CTR(bytes(16))).encryptor()
    return lambda count: stream.update(bytes(count))


def sketch_lanes(data: bytes, terms: Terms) -> Lanes:
    """Lanes of a sketch from the wire; empty when they are not `dim` lanes."""
    if len(data) != terms.dim * terms.dtype.itemsize:
        return np.empty(0, dtype=terms.dtype)
    return np.frombuffer(data, dtype=terms.dtype)
