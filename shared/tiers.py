"""Tiers of clients: some send a part of the coordinates, some train a part of the tensors, in the same round.

The standard tier ("") does what the header says; the others are listed in it, by name. `header_for` gives the header
as one tier reads it, so that what follows from a header (`roughfed.masked_round`, the client's rules) need not know of
tiers at all. A tier that is not listed takes no part in the round.

An update is a vector over the coordinates of its tier: those of its tensors, in the order of the Spec. The updates of
all tiers are merged coordinate by coordinate, as the mean over those who train it (docs/decisions/0020-tiers.md).

D parameters of the model, d of them a tier's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import RemoteProtocolError
from roughfed.shared_tensors import is_private
from roughfed.types import RoundHeader, Spec

Flat = NDArray[np.float32]
Places = NDArray[np.int64]
Mean = Callable[[int, int], Flat]
Ranges = tuple[tuple[int, int], ...]
"""(start, stop) of coordinates, ascending, apart from one another."""

STANDARD = ""

LOUDEST = 4.0
"""A quarter of the clients at a sixteenth, the most that was measured; beyond it noise would be scaled up with it."""
_BOUND = b"roughfed class v1\0"


def named(name: str) -> str:
    """A tier in words."""
    return f"tier {name}" if name else "the standard tier"


def names_of(header: RoundHeader) -> tuple[str, ...]:
    """The tiers of a round, the standard one first: the number of a tier is its place here, from 1."""
    return (STANDARD, *(one.name for one in header.tiers))


def header_for(header: RoundHeader, name: str) -> RoundHeader:
    """The header as one tier reads it.

    Raises:
        RemoteProtocolError: reason "class"; the tier takes no part in the round.
    """
    if name == STANDARD:
        return header
    for one in header.tiers:
        if one.name == name:
            return replace(
                header,
                tier=name,
                codec=one.codec,
                levels=one.levels,
                lane_bits=one.lane_bits,
                keep_one_in=one.keep_one_in,
                clip_norm=one.clip_norm,
                sketch_dim=one.sketch_dim,
                epoch_round=one.epoch_round,
                epoch_beacon=one.epoch_beacon,
            )
    raise RemoteProtocolError(f"tier {name} takes no part in round {header.round}", reason="class")


def bound_digest(header_digest: bytes, name: str) -> bytes:
    """What everything of a tier is bound to: the header's digest, and which tier of it.

    Adverts, keys, shares and sets of one tier so verify in no other: to its members they are of another round.
    """
    return hashlib.sha256(_BOUND + header_digest + name.encode()).digest() if name else header_digest


def tier_in_round(header: RoundHeader, own: str, *, standard_if_few: bool) -> str:
    """The tier as which a client takes part in a round.

    Args:
        header: of the round.
        own: the client's tier.
        standard_if_few: whether it joins the standard tier where its own takes no part.

    Raises:
        RemoteProtocolError: reason "class"; it takes no part.
    """
    if own in names_of(header):
        return own
    if standard_if_few:
        return STANDARD
    raise RemoteProtocolError(f"tier {own} takes no part in round {header.round}", reason="class")


def tensors_of(header: RoundHeader) -> tuple[str, ...]:
    """Patterns of the tensors that the tier trains as which a header is read; none: all of them."""
    return next((one.tensors for one in header.tiers if one.name == header.tier), ())


def part_of(spec: Spec, tensors: Sequence[str]) -> Spec:
    """The tensors of a model that some patterns name, in its order; all of them without a pattern."""
    return Spec(tuple(t for t in spec.tensors if is_private(t.name, tensors))) if tensors else spec


def ranges_of(spec: Spec, tensors: Sequence[str]) -> Ranges:
    """The coordinates of these tensors, neighbours joined."""
    if not tensors:
        return ((0, spec.size),)
    found: list[tuple[int, int]] = []
    for name, where in spec.slices().items():
        if not is_private(name, tensors) or where.start == where.stop:
            continue
        if found and found[-1][1] == where.start:
            found[-1] = (found[-1][0], where.stop)
        else:
            found.append((where.start, where.stop))
    return tuple(found)


def length_of(ranges: Ranges) -> int:
    """Number of coordinates."""
    return sum(stop - start for start, stop in ranges)


def pieces_of(ranges: Ranges, start: int, stop: int) -> list[tuple[int, int, int]]:
    """What of a tier lies in a slice of the model.

    Args:
        ranges: coordinates of the tier.
        start: of the slice.
        stop: of the slice.

    Returns:
        (low, high, at) of each piece: coordinates low..high-1 of the model are those from `at` on of the tier.
    """
    found: list[tuple[int, int, int]] = []
    at = 0
    for low, high in ranges:
        first, last = max(low, start), min(high, stop)
        if first < last:
            found.append((first, last, at + first - low))
        at += high - low
    return found


def feeds_back(header: RoundHeader) -> bool:
    """Whether a tier says later what its codec leaves unsaid in this round.

    Not where others send all coordinates of the same tensors: then what a subset says is scaled up at once, and saying
    the rest later, too, would say it twice.
    """
    if header.keep_one_in <= 1:
        return True
    mine = tensors_of(header)
    dense = {one.tensors for one in header.tiers if one.keep_one_in == 1} | {()}
    return mine not in dense


def loudness(keep_one_in: int, share: float) -> float:
    """By what the difference of a tier's mean from that of the others counts, where it is known.

    Args:
        keep_one_in: f, one coordinate in so many is sent.
        share: of the weights of all who train these tensors.

    Returns:
        f * share, which makes up for all the times when nothing is said; at most LOUDEST.
    """
    return min(keep_one_in * share, LOUDEST)


def completed(base: Mean, subsets: Sequence[tuple[Mean, Places, float]]) -> Mean:
    """The mean of those who sent every coordinate, corrected where others sent a subset (`codec.chain.decode_merged`).

    Args:
        base: of the former.
        subsets: of each tier of the others: the mean of what it sent, as many numbers as there are places; the places,
            ascending; `loudness`.
    """

    def mean(start: int, stop: int) -> Flat:
        known = base(start, stop)
        out = known.astype(np.float64)
        for values, places, factor in subsets:
            low, high = np.searchsorted(places, (start, stop))
            at = places[low:high] - start
            out[at] += factor * (values(int(low), int(high)).astype(np.float64) - known[at])
        with np.errstate(over="ignore"):  # whoever makes a model of it looks at every value
            return out.astype(np.float32)

    return mean


def merged(parts: Sequence[tuple[Mean, float, Ranges]], size: int) -> Mean:
    """The means of all tiers as one update of the model.

    Args:
        parts: of each tier that gave something: its mean over its own coordinates, its clients' weights added up, its
            coordinates.
        size: D.

    Returns:
        (start, stop) -> float32: sum of weight * mean over those tiers that have a coordinate, divided by the sum of
        their weights, in float64; 0 where none has it.
    """
    if len(parts) == 1 and parts[0][2] == ((0, size),):
        return parts[0][0]

    def mean(start: int, stop: int) -> Flat:
        total, weights = np.zeros(stop - start), np.zeros(stop - start)
        for values, weight, ranges in parts:
            for low, high, at in pieces_of(ranges, start, stop):
                here = slice(low - start, high - start)
                total[here] += weight * values(at, at + high - low).astype(np.float64)
                weights[here] += weight
        np.divide(total, weights, out=total, where=weights > 0)
        with np.errstate(over="ignore"):  # whoever makes a model of it looks at every value
            return total.astype(np.float32)

    return mean
