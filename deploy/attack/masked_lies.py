"""Lies that a client can tell in a masked round, one for each place where it says something.

D codes; w bits in a lane.
"""

# A liar is an honest client with a hand inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from roughfed.crypto.masks import Lanes, add_mask
from roughfed.deploy.attack.lying_client import LyingRound
from roughfed.secagg import messages as m
from roughfed.secagg.dealing import deal

EVERYBODY = 1 << 16
"""More than a group has members."""


def victims(liar: LyingRound, count: int) -> set[str]:
    """The last so many others of its group, by name."""
    others = [name for name in liar._names if name != liar._me.name]
    return set(others[-count:])


# -- about the update -------------------------------------------------------------------------------------------------


def false_claim(liar: LyingRound, sketch: m.Sketch) -> m.Sketch:
    """Half of the numbers of the update's sketch are off by one."""
    return replace(sketch, codes=_shifted(liar, sketch.codes, buckets=liar._terms.dim // 2))


def other_upload(factor: float) -> Callable[[LyingRound, Lanes], Lanes]:
    """Upload `factor` times the update, beyond what a code may be; the sketch will be that of the true one."""

    def change(liar: LyingRound, lanes: Lanes) -> Lanes:
        if (codes := liar._codes) is None:
            return lanes
        terms = liar._terms
        centred = codes.astype(np.int64) - terms.zero  # [D]
        other = (np.rint(centred * factor).astype(np.int64) + terms.zero).astype(terms.dtype)  # wraps mod 2^w
        lanes[: terms.length] += other - codes
        return lanes

    return change


def far_upload(norm: float) -> Callable[[LyingRound, Lanes], Lanes]:
    """Upload an update of `norm` times C, and say so."""

    def change(liar: LyingRound, lanes: Lanes) -> Lanes:
        if (codes := liar._codes) is None:
            return lanes
        terms = liar._terms
        values = np.random.default_rng(5).normal(size=len(codes)) * terms.code_rms * norm + terms.zero  # [D]
        other = np.rint(values).astype(np.int64).astype(terms.dtype)
        lanes[: terms.length] += other - codes
        liar._codes = other
        return lanes

    return change


def false_self_mask(_: LyingRound, lanes: Lanes) -> Lanes:
    """Mask with another self mask than the one whose secret is shared."""
    add_mask(lanes, bytes(32), 1)
    return lanes


def false_pair_mask(liar: LyingRound, lanes: Lanes) -> Lanes:
    """Mask with another key than the one shared with one mate."""
    for name in victims(liar, 1) & liar._paired:
        add_mask(lanes, liar._mates[name].pair_key, -1 if liar._me.name < name else 1)
        add_mask(lanes, bytes(31) + b"\1", 1)
    return lanes


# -- about pairs ------------------------------------------------------------------------------------------------------


def false_pair_sketch(count: int) -> Callable[[LyingRound, m.Sketch], m.Sketch]:
    """Another sketch of the masks shared with so many mates: a dispute with each of them."""

    def change(liar: LyingRound, sketch: m.Sketch) -> m.Sketch:
        against = victims(liar, count)
        pairs = ((name, _shifted(liar, s, buckets=3) if name in against else s) for name, s in sketch.pairs)
        return replace(sketch, pairs=tuple(pairs))

    return change


def false_tag(count: int) -> Callable[[LyingRound, m.Shares], m.Shares]:
    """Publish tags of the pair keys that are not theirs."""

    def change(liar: LyingRound, shares: m.Shares) -> m.Shares:
        against = victims(liar, count)
        return _resealed(shares, lambda one: replace(one, pair_tag=bytes(32)) if one.holder in against else one)

    return change


# -- about shares -----------------------------------------------------------------------------------------------------


def bad_share(count: int) -> Callable[[LyingRound, m.Shares], m.Shares]:
    """Seal nothing that so many holders could open."""

    def change(liar: LyingRound, shares: m.Shares) -> m.Shares:
        against = victims(liar, count)
        return _resealed(
            shares, lambda one: replace(one, ciphertext=one.ciphertext[::-1]) if one.holder in against else one
        )

    return change


def bad_deal(liar: LyingRound, shares: m.Shares) -> m.Shares:
    """Deal good shares of another secret than the one committed to."""
    sealed, own = deal(liar._seat, liar._mates, bytes(32), liar._mask.private, liar._entropy)
    liar._held[liar._me.name] = own
    return replace(shares, sealed=sealed)


def wrong_answer(_: LyingRound, unmask: m.Unmask) -> m.Unmask:
    """Give one share back with a bit turned."""
    (name, share), *rest = unmask.self_mask
    return replace(unmask, self_mask=((name, share[:-1] + bytes([share[-1] ^ 1])), *rest))


def false_complaints(liar: LyingRound) -> Iterator[m.Opening]:
    """Complain about the good shares of everybody."""
    for name in sorted(liar._paired):
        yield m.Opening(liar._terms.header_digest, "sealing", name, liar._mates[name].in_key)


def _resealed(shares: m.Shares, change: Callable[[m.Sealed], m.Sealed]) -> m.Shares:
    return replace(shares, sealed=tuple(change(one) for one in shares.sealed))


def _shifted(liar: LyingRound, sketch: bytes, *, buckets: int) -> bytes:
    """The sketch with the first `buckets` numbers one higher, mod 2^w."""
    values = np.frombuffer(sketch, liar._terms.dtype).copy()  # [dim]
    values[:buckets] += liar._terms.dtype.type(1)
    return values.tobytes()
