"""The public clip norm C follows what was seen, slowly and within public limits.

A function of numbers that all parties may know (norms from sketches, or the sum of clip bits), so a client can follow
it and refuse a header that leaps. It rises by at most a factor 1.1 a round and falls by at most 1.3: a coalition cannot
open the range in one round, nor shut it (then everyone's updates would be cut to nothing).

The idea of clip bits is that of Andrew et al., NeurIPS 2021, https://arxiv.org/abs/1905.03871. Differs: no noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from roughfed.errors import ConfigError, RemoteProtocolError

MAX_STEP = 1.1  # factor a round, up
MAX_FALL = 1.3  # down: while C is too large, updates may be too long
FIRST_STEP = 4.0  # the same in the first rounds of a run: nobody can know the scale of a new model's updates
FIRST_ROUNDS = 4
WANTED_UNCLIPPED = 0.8  # where updates are cut to C itself: share of clients whose update should pass whole
HEADROOM = 1.25  # C above the norm of the client at that share: a saturated norm still lets C grow
STICKS_OUT = 2.2  # where they are cut to half of C: C in median norms; where the median is cut itself, C grows by 1.1

CLIP_SHARE = 0.5
"""Clients cut their updates to this part of C where the server sees sketches: 1.1 median norms. C stays the range of
the codes, so that who cuts nothing is seen to be longer than any honest client can be."""

_SLACK = 1e-9  # for the rounding of a product


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """Public limits of C for a whole run: 0 < floor <= ceiling."""

    floor: float
    ceiling: float

    def start(self, clip_norm: float) -> float:
        """The first C, within the limits."""
        return min(max(clip_norm, self.floor), self.ceiling)

    def __post_init__(self) -> None:
        """Check the order.

        Raises:
            ConfigError: limits that no C satisfies.
        """
        if not 0 < self.floor <= self.ceiling < math.inf:
            cause = f"no clip norm lies between {self.floor} and {self.ceiling}"
            raise ConfigError(cause, key="privacy.clip_norm", cure="0 < floor <= ceiling")


def clip_share(*, sketches: bool, keep_one_in: int) -> float:
    """The part of C that updates are cut to; 1 where C does not stick out of the norms, or nobody sees them."""
    return CLIP_SHARE if sketches and keep_one_in == 1 else 1.0


def max_step(number: int) -> float:
    """The most that C of round `number` may differ from C of the round before, as a factor."""
    return FIRST_STEP if number <= FIRST_ROUNDS else MAX_STEP


def follow_norms(
    clip_norm: float, norms: Sequence[float], limits: ClipLimits, *, step: float = MAX_STEP, keep_one_in: int = 1
) -> float:
    """The next C after a round with sketches.

    Args:
        clip_norm: this round's C.
        norms: estimated norms of the accepted clients' clipped updates. A sketch of a subset (one coordinate in f) sees
            norm / sqrt(f): the caller multiplies.
        limits: public limits.
        step: `max_step` of the next round.
        keep_one_in: how many coordinates one stands for. With 1 C sticks out of the norms; with more the rounding error
            is fed back so many times that the coarser steps cost more than they show.

    Returns:
        with `keep_one_in` 1, where updates are cut to `CLIP_SHARE` of C, STICKS_OUT x the median; else HEADROOM x the
        norm below which 80 % of the clients lie. At most a factor `step` above C and the larger of `step` and
        `MAX_FALL` below, within the limits; C when nobody was accepted. What is not finite counts as nothing.
    """
    ordered = sorted(norm for norm in norms if math.isfinite(norm))
    if not ordered:
        return _limited(clip_norm, clip_norm, limits, step)
    if keep_one_in == 1:
        wanted = STICKS_OUT * ordered[(len(ordered) - 1) // 2]
    else:
        wanted = HEADROOM * ordered[math.ceil(WANTED_UNCLIPPED * len(ordered)) - 1]
    return _limited(clip_norm, wanted, limits, step)


def follow_histogram(
    clip_norm: float, counts: Sequence[int], edges: Sequence[float], limits: ClipLimits, *, step: float = MAX_STEP
) -> float:
    """The next C after a round that shows sums only, from how many clients' norms lie in which bucket.

    Args:
        clip_norm: this round's C.
        counts: clients in each bucket; one that lies moves the result by one client at most.
        edges: upper edge of each bucket, ascending.
        limits: public limits.
        step: `max_step` of the next round.

    Returns:
        the edge below which 80 % of the clients lie, at most a factor `step` from C, within the limits; C without any.
    """
    needed, seen = math.ceil(WANTED_UNCLIPPED * sum(counts)), 0
    for count, edge in zip(counts, edges, strict=True):
        seen += count
        if seen >= needed > 0:
            return _limited(clip_norm, edge, limits, step)
    return _limited(clip_norm, clip_norm, limits, step)


def check_step(previous: tuple[int, float], now: tuple[int, float]) -> None:
    """A client's check of a header, each side a (round, C).

    Raises:
        RemoteProtocolError: C is no positive number, or further from the last one seen than the rounds between allow.
    """
    rise = fall = 1.0
    for number in range(previous[0] + 1, min(now[0], previous[0] + 1000) + 1):
        rise *= max_step(number) + _SLACK
        fall *= max(max_step(number), MAX_FALL) + _SLACK
    if not previous[1] / fall <= now[1] <= previous[1] * rise:  # a NaN is not
        message = f"clip norm {now[1]} in round {now[0]} after {previous[1]} in round {previous[0]}"
        raise RemoteProtocolError(message, reason="codec")


def _limited(clip_norm: float, wanted: float, limits: ClipLimits, step: float) -> float:
    nearest = min(max(wanted, clip_norm / max(step, MAX_FALL)), clip_norm * step)
    return min(max(nearest, limits.floor), limits.ceiling)
