"""The sketch S: which codes go into which bucket, with which sign.

D is the number of sent codes, w the lane width in bits, L the number of levels.

S is a linear map over the integers mod 2^w: bucket b is the signed sum of a few *singly* sampled codes. Linearity is
what makes it checkable on masked lanes; single coordinates (never runs) are what keeps an attack from hiding between
the samples. The seed is drawn after the uploads are committed, so nobody can aim at it.

Half of the buckets hold many samples (a good estimate of norms and angles), the other half few: a total that a
coalition splits among its members would wrap around unseen in large buckets alone (research/gate.md, H1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from roughfed.crypto.agreement import derive
from roughfed.crypto.masks import Lanes, MaskReader
from roughfed.errors import ConfigError

SKETCH = b"roughfed sketch v1\0"

SPREAD_MANY = 0.094
"""Standard deviation of a large bucket at norm C, as a share of 2^w: (0.48 g)^2 samples at w = 8."""

SPREAD_FEW = 0.22
"""The same for a small bucket at c times 1.5 C, what c colluders could claim together."""

NORM_BOUND = 1.5
"""A client above this, in units of C and in either half, is excluded."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Samples in each bucket of the two halves."""

    many: int
    few: int


def bucket_sizes(length: int, dim: int, *, bits: int, code_rms: float, colluders: int) -> Sizes:
    """How many codes a bucket holds.

    Args:
        length: number of sent codes, D.
        dim: number of buckets, even.
        bits: lane width, w.
        code_rms: root mean square of the centred codes of an update of norm C.
        colluders: c = max(1, 2t - g - 1), the coalition that the bound is made for.

    Raises:
        ConfigError: fewer codes than buckets.
    """
    if dim < 2 or dim % 2 or length < dim:
        raise ConfigError(
            f"{dim} buckets for {length} codes", key="sketch.dim", cure="choose an even number below the model's size"
        )
    many = min(length // dim, math.floor((SPREAD_MANY * 2**bits / code_rms) ** 2))
    few = math.floor((SPREAD_FEW * 2**bits / (NORM_BOUND * max(1, colluders) * code_rms)) ** 2)
    many = max(1, many)
    return Sizes(many, min(many, max(1, few)))


class Sketcher:
    """S for one seed. All members of a group use the same one."""

    def __init__(
        self, seed: bytes, length: int, dim: int, *, sizes: Sizes, dtype: np.dtype[np.unsignedinteger[Any]], zero: int
    ) -> None:
        """Draw positions and signs.

        Args:
            seed: 32 bytes, from the root of all uploads.
            length: number of sent codes, D.
            dim: number of buckets, even.
            sizes: samples in each bucket.
            dtype: of the lanes: uint8, uint16 or uint32.
            zero: the code that stands for 0.
        """
        self.dim, self.sizes, self.length = dim, sizes, length
        self._dtype: np.dtype[np.unsignedinteger[Any]] = dtype
        half = dim // 2
        counts = np.repeat([sizes.many, sizes.few], half)  # [dim]
        self._starts = np.concatenate([[0], np.cumsum(counts)[:-1]])  # [dim]
        self.counts = counts
        total = int(counts.sum())
        stream = _BucketStream(derive(seed, SKETCH, b""))
        self.positions = draw_positions(stream, total, length)  # [total]
        self._negative = np.unpackbits(np.frombuffer(stream.take((total + 7) // 8), np.uint8))[:total].astype(bool)
        self._reader = MaskReader(self.positions, self._dtype)
        self._offset = self._sum(np.full(total, zero, dtype=self._dtype))

    def of_codes(self, codes: Lanes) -> Lanes:
        """S of codes or of masked lanes: [D] -> [dim], mod 2^w, the zero code not yet taken off."""
        return self._sum(codes[self.positions])

    def of_mask(self, key: bytes) -> Lanes:
        """S of the mask that a key expands to, [dim] mod 2^w; only the sampled lanes are computed."""
        return self._sum(self._reader.read(key))

    def claim(self, sketch: Lanes, *, clients: int = 1) -> NDArray[np.float64]:
        """What a sketch says about the centred codes of `clients` clients, rows scaled by 1/sqrt(bucket size).

        Returns:
            float64 [dim]: its squared norm times D / dim estimates the squared norm of the codes; angles between
            claims estimate angles between updates.
        """
        offset = (self._offset.astype(np.uint64) * np.uint64(clients)).astype(self._dtype)  # mod 2^w
        signed = (sketch - offset).view(np.dtype(f"i{self._dtype.itemsize}"))
        return signed.astype(np.float64) / np.sqrt(self.counts)

    def norms(self, claim: NDArray[np.float64]) -> tuple[float, float]:
        """Estimated norm of the centred codes by each half: (from many-sample buckets, from few-sample buckets)."""
        half = self.dim // 2
        scale = self.length / half
        many, few = claim[:half], claim[half:]
        return math.sqrt(scale * float(many @ many)), math.sqrt(scale * float(few @ few))

    def _sum(self, lanes: Lanes) -> Lanes:
        signed = np.where(self._negative, (~lanes + self._dtype.type(1)), lanes)
        return np.add.reduceat(signed, self._starts, dtype=self._dtype)


class _BucketStream:
    """An endless byte stream from a key: AES-256-CTR, the same everywhere."""

    def __init__(self, key: bytes) -> None:
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def take(self, count: int) -> bytes:
        return self._encryptor.update(bytes(count))


def draw_positions(stream: _BucketStream, count: int, length: int) -> NDArray[np.int64]:
    """`count` different positions below `length`, uniform, in the order drawn; int64 [count]."""
    if count > length:
        raise ConfigError(f"{count} samples of {length} codes", key="sketch.dim", cure="choose a smaller sketch.dim")
    if 2 * count > length:  # nearly all of them: drawing until all differ would take long
        keys = np.frombuffer(stream.take(8 * length), "<u8")
        return np.argsort(keys, kind="stable")[:count].astype(np.int64)
    limit = np.uint64(2**64 - 2**64 % length - 1)
    drawn = np.empty(0, dtype=np.int64)
    while len(drawn) < count:
        words = np.frombuffer(stream.take(16 * count), "<u8")
        fresh = (words[words <= limit] % np.uint64(length)).astype(np.int64)
        drawn = np.concatenate([drawn, fresh])
        _, first = np.unique(drawn, return_index=True)
        drawn = drawn[np.sort(first)]
    return drawn[:count]
