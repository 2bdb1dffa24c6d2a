"""The public clip norm C follows what was seen, slowly and within public limits.

A function of numbers that all parties may know (norms from sketches, or the sum of clip bits), so a client can follow
it and refuse a header that leaps. At most a factor 1.1 a round: a coalition cannot open the range in one round, nor
shut it (then everyone's updates would be cut to nothing).

The idea of clip bits is that of Andrew et al., NeurIPS 2021, https://arxiv.org/abs/1905.03871. Differs: no noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from roughfed.errors import ConfigError, RemoteProtocolError

MAX_STEP = 1.1  # factor a round
WANTED_UNCLIPPED = 0.8  # share of clients whose update should pass whole
HEADROOM = 1.25  # C above the norm of the client at that share: a saturated norm still lets C grow

_SLACK = 1e-9  # for the rounding of a product


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """Public limits of C for a whole run: 0 < floor <= ceiling."""

    floor: float
    ceiling: float

    def __post_init__(self) -> None:
        """Check the order.

        Raises:
            ConfigError: limits that no C satisfies.
        """
        if not 0 < self.floor <= self.ceiling < math.inf:
            cause = f"no clip norm lies between {self.floor} and {self.ceiling}"
            raise ConfigError(cause, key="privacy.clip_norm", cure="0 < floor <= ceiling")


def follow_norms(clip_norm: float, norms: Sequence[float], limits: ClipLimits) -> float:
    """The next C after a round with sketches.

    Args:
        clip_norm: this round's C.
        norms: estimated norms of the accepted clients' clipped updates. A sketch of a subset (one coordinate in f) sees
            norm / sqrt(f): the caller multiplies.
        limits: public limits.

    Returns:
        HEADROOM x the norm below which 80 % of the clients lie, at most a factor 1.1 from C, within the limits; C when
        nobody was accepted. Values that are not finite count as nothing.
    """
    ordered = sorted(norm for norm in norms if math.isfinite(norm))
    if not ordered:
        return _limited(clip_norm, clip_norm, limits)
    return _limited(clip_norm, HEADROOM * ordered[math.ceil(WANTED_UNCLIPPED * len(ordered)) - 1], limits)


def follow_clip_bits(clip_norm: float, num_clipped: int, num_clients: int, limits: ClipLimits) -> float:
    """The next C after a round that shows sums only.

    Args:
        clip_norm: this round's C.
        num_clipped: how many clients said that their update was clipped; cut to 0..n, since a bit may be a lie.
        num_clients: n, clients in that sum.
        limits: public limits.

    Returns:
        C times 1.1 to the power of +1 (all clipped) to -1/4 (none): it rests where 20 % are clipped.
    """
    if num_clients < 1:
        return _limited(clip_norm, clip_norm, limits)
    clipped = min(max(num_clipped, 0), num_clients) / num_clients
    excess = (clipped - (1 - WANTED_UNCLIPPED)) / WANTED_UNCLIPPED  # -1/4..1
    return _limited(clip_norm, clip_norm * MAX_STEP**excess, limits)


def check_step(previous: float, clip_norm: float, limits: ClipLimits) -> None:
    """A client's check of a header.

    Raises:
        RemoteProtocolError: C outside the limits, or further than a factor 1.1 from the round before.
    """
    inside = limits.floor <= clip_norm <= limits.ceiling  # a NaN is not
    if not inside or not previous / (MAX_STEP + _SLACK) <= clip_norm <= previous * (MAX_STEP + _SLACK):
        message = f"clip norm {clip_norm} after {previous}, limits {limits.floor} to {limits.ceiling}"
        raise RemoteProtocolError(message, reason="codec")


def _limited(clip_norm: float, wanted: float, limits: ClipLimits) -> float:
    step = min(max(wanted, clip_norm / MAX_STEP), clip_norm * MAX_STEP)
    return min(max(step, limits.floor), limits.ceiling)
