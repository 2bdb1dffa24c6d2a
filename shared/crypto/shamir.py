"""Secrets shared so that any t holders restore them and fewer learn nothing (Shamir, CACM 1979).

The field is the integers modulo 2^256 + 297, a prime: every 32-byte secret fits, and Python's own integers are fast
enough (0.09 ms to share among 32 holders). The functions on integers take the prime as an argument, so that secrecy can
be shown by counting over a small one.

Limits: Python's integers do not compute in constant time; holders and dealers run on machines of their own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

from roughfed.crypto.entropy import Entropy, draw
from roughfed.errors import LocalProtocolError, RemoteProtocolError, TooFewClients

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33
MAX_HOLDERS = 65_535

ShareOf = Literal["self-mask", "mask-secret"]

_HASH_DOMAIN = b"roughfed share v1\0"
_MAX_DRAWS = 256  # half of all draws are rejected: a sound source fails with probability 2^-256


def split(secret: bytes, holders: Sequence[int], *, threshold: int, entropy: Entropy) -> list[bytes]:
    """Share a secret.

    Args:
        secret: 32 bytes.
        holders: x-coordinates, different numbers from 1 to 65,535.
        threshold: how many shares restore it, 2 to len(holders).
        entropy: source of the coefficients.

    Returns:
        one share of 33 bytes (big-endian) for each holder, in their order.

    Raises:
        LocalProtocolError: the arguments are none of these, or the source is stuck.
    """
    if len(secret) != SECRET_BYTES:
        raise LocalProtocolError(f"a secret of {len(secret)} bytes, want {SECRET_BYTES}")
    value = int.from_bytes(secret, "big")
    shares = split_integer(value, holders, threshold=threshold, entropy=entropy)
    return [share.to_bytes(SHARE_BYTES, "big") for share in shares]


def combine(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """Restore a secret from `threshold` of its shares, those with the lowest x.

    Pass only shares for which `is_share` holds: one wrong share among them gives a wrong secret, which nothing here but
    the commitment to it notices, and then the dealer is at fault.

    Args:
        shares: 33 bytes by x-coordinate.
        threshold: as it was split.

    Returns:
        32 bytes.

    Raises:
        TooFewClients: fewer shares than `threshold`.
        RemoteProtocolError: `reason="share"`; a share is malformed, or the result is no 32-byte secret.
        LocalProtocolError: an x-coordinate out of range, or a threshold below 2.
    """
    points = {x: decode_share(shares[x], x) for x in sorted(shares)[: max(threshold, 0)]}
    value = combine_integers(points, threshold)
    if value.bit_length() > 8 * SECRET_BYTES:
        raise RemoteProtocolError("the shares restore no 256-bit secret: at least one is wrong", reason="share")
    return value.to_bytes(SECRET_BYTES, "big")


def decode_share(share: bytes, x: int) -> int:
    """The field element in a share.

    Raises:
        RemoteProtocolError: `reason="share"`; not 33 bytes, or not below the prime. The share itself is not told.
    """
    if len(share) != SHARE_BYTES:
        raise RemoteProtocolError(f"the share of holder {x} has {len(share)} bytes, want {SHARE_BYTES}", reason="share")
    if (value := int.from_bytes(share, "big")) >= PRIME:
        raise RemoteProtocolError(f"the share of holder {x} is not below the prime", reason="share")
    return value


def share_hash(share: bytes, x: int, *, of: ShareOf, info: bytes) -> bytes:
    """What the dealer signs about a share: a wrong share is the holder's fault if it differs, else the dealer's.

    Args:
        share: 33 bytes.
        x: the holder's x-coordinate.
        of: which secret it is a share of. Each has a hash of its own, since only one of the two is ever released.
        info: round, group, dealer and holder, from `agreement.directed_info`.

    Returns:
        SHA-256, 32 bytes. It hides the share, which is uniform over 256 bits.

    Raises:
        LocalProtocolError: an x-coordinate out of range.
    """
    _check_coordinates((x,), PRIME)
    kind = of.encode()
    parts = (x.to_bytes(4, "big"), len(kind).to_bytes(2, "big"), kind, len(info).to_bytes(4, "big"), info, share)
    return hashlib.sha256(_HASH_DOMAIN + b"".join(parts)).digest()


def is_share(expected_hash: bytes, share: bytes, x: int, *, of: ShareOf, info: bytes) -> bool:
    """Is this the share that the dealer signed? Compares in constant time."""
    return hmac.compare_digest(expected_hash, share_hash(share, x, of=of, info=info))


def split_integer(
    secret: int, holders: Sequence[int], *, threshold: int, entropy: Entropy, prime: int = PRIME
) -> list[int]:
    """Values of a random polynomial of degree threshold - 1 through (0, secret), at `holders`, modulo `prime`.

    Raises:
        LocalProtocolError: as for `split`.
    """
    _check_coordinates(holders, prime)
    if not 2 <= threshold <= len(holders):
        raise LocalProtocolError(f"threshold {threshold} of {len(holders)} holders: want 2 or more, and not above")
    coefficients = [secret, *(_uniform(prime, entropy) for _ in range(threshold - 1))]
    return [_evaluate(coefficients, x, prime) for x in holders]


def combine_integers(points: Mapping[int, int], threshold: int, prime: int = PRIME) -> int:
    """Value at 0 of the polynomial through the `threshold` points of lowest x, modulo `prime`.

    Raises:
        TooFewClients: fewer points than `threshold`.
        LocalProtocolError: an x-coordinate out of range, or a threshold below 2.
    """
    if threshold < 2:
        raise LocalProtocolError(f"threshold {threshold}: want 2 or more")
    if len(points) < threshold:
        raise TooFewClients(needed=threshold, got=len(points))
    xs = tuple(sorted(points)[:threshold])
    return sum(weight * points[x] for x, weight in zip(xs, _weights(xs, prime), strict=True)) % prime


@lru_cache(maxsize=256)
def _weights(xs: tuple[int, ...], prime: int) -> tuple[int, ...]:
    """Lagrange weights at 0: one set of answering holders restores the secrets of a whole group."""
    _check_coordinates(xs, prime)
    weights: list[int] = []
    for x in xs:
        top = bottom = 1
        for other in xs:
            if other != x:
                top = top * other % prime
                bottom = bottom * (other - x) % prime
        weights.append(top * pow(bottom, -1, prime) % prime)
    return tuple(weights)


def _evaluate(coefficients: Sequence[int], x: int, prime: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):  # Horner
        value = (value * x + coefficient) % prime
    return value


def _uniform(prime: int, entropy: Entropy) -> int:
    """A field element, all equally likely: what is not below the prime is drawn again, never reduced."""
    bits = (prime - 1).bit_length()
    size = (bits + 7) // 8
    for _ in range(_MAX_DRAWS):
        if (value := int.from_bytes(draw(entropy, size), "big") & ((1 << bits) - 1)) < prime:
            return value
    raise LocalProtocolError(f"the entropy source is stuck: {_MAX_DRAWS} draws were all out of range")


def _check_coordinates(xs: Sequence[int], prime: int) -> None:
    if len(set(xs)) != len(xs):
        raise LocalProtocolError(f"two of the {len(xs)} holders have the same x-coordinate")
    if not all(1 <= x <= min(MAX_HOLDERS, prime - 1) for x in xs):
        raise LocalProtocolError(f"x-coordinates from {min(xs)} to {max(xs)}: want 1 to {MAX_HOLDERS}")
