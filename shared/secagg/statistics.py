"""Secure statistics: named sums that ride behind the codes, so that no single client's numbers are seen.

A value is written in digits to the base L (the levels of the codes), one digit a lane: sums of digits never carry, and
the sum of the values follows exactly. Every statistic has a public bound for each client and value; a group's sum is
cut to what its accepted clients could honestly give. Still one client can move it by the whole range of its group, so
statistics are advisory: priors, reports, schedules with public limits. They never enter the weights of a sum.

A *static* statistic says the same in every round. Summed over groups that are drawn anew it would give every client
away by linear algebra, so a client gives it once a run, and only in a round in which its whole group does. What an
evaluation says is given where enough of the group promise one that at least four are in every sum (`contributors`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roughfed.crypto.masks import Lanes
from roughfed.errors import LocalProtocolError, RemoteProtocolError

MAX_VALUES = 10_000
COUNT = 1 << 20
LOSS_UNIT = 1.0 / 1024
"""Losses are sent in this unit."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A row: the largest value that one client may give; whether it is static; whether it is of an evaluation."""

    largest: int
    static: bool = False
    evaluation: bool = False


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "examples": Kind(COUNT, static=True),
        "class-count": Kind(COUNT, static=True),
        "evaluated": Kind(1, evaluation=True),
        "eval-count": Kind(COUNT, evaluation=True),
        "eval-correct": Kind(COUNT, evaluation=True),
        "eval-loss": Kind(64 * 1024, evaluation=True),
        "accuracy-histogram": Kind(1, evaluation=True),
        "norm-histogram": Kind(1),
    }
)
"""examples: training examples; class-count: those of each class; evaluated: 1 from a client that evaluated the base
model; eval-count, eval-correct: its held-out examples of each class, and those it got right; eval-loss: its mean loss
in units of 1/1024; accuracy-histogram: 1 in the bucket of its accuracy; norm-histogram: 1 in the bucket of the norm of
its update, before the clip, relative to C (`norm_bucket`)."""

NORM_BUCKETS = 32
_NORM_STEP = 2**0.5


@dataclass(frozen=True, slots=True)
class Statistic:
    """One statistic of a round: `length` values, each written in `digits` lanes."""

    name: str
    length: int
    digits: int

    @property
    def kind(self) -> Kind:
        """Its row."""
        return KINDS[self.name]

    @property
    def lanes(self) -> int:
        """Lanes that it takes."""
        return self.length * self.digits


def read_statistics(texts: Sequence[str], levels: int) -> tuple[Statistic, ...]:
    """What a header says: "name:length" each.

    Raises:
        RemoteProtocolError: an unknown name, one twice, or more than `MAX_VALUES` values.
    """
    found: list[Statistic] = []
    for text in texts:
        name, _, length = text.partition(":")
        count = int(length) if length.isdecimal() and len(length) <= 6 else 0
        if name not in KINDS or not count or name in {s.name for s in found}:
            raise RemoteProtocolError(f"the statistic {text[:40]!r} is not known here", reason="header")
        found.append(Statistic(name, count, _digits(KINDS[name].largest, levels)))
    if sum(s.length for s in found) > MAX_VALUES:
        raise RemoteProtocolError(f"statistics of more than {MAX_VALUES} values", reason="header")
    return tuple(found)


def tail_lanes(statistics: Sequence[Statistic]) -> int:
    """Lanes behind the codes."""
    return sum(s.lanes for s in statistics)


def encode(
    values: Mapping[str, Sequence[int]], statistics: Sequence[Statistic], *, levels: int, dtype: np.dtype[Any]
) -> Lanes:
    """One client's values as lanes; what is not given is zero, what is above its bound is cut to it.

    Raises:
        LocalProtocolError: another number of values.
    """
    parts: list[NDArray[Any]] = [np.empty(0, dtype=dtype)]
    for statistic in statistics:
        given = values.get(statistic.name, (0,) * statistic.length)
        if len(given) != statistic.length:
            raise LocalProtocolError(f"{len(given)} values of {statistic.name}, want {statistic.length}")
        left = np.clip(np.array(given, dtype=np.int64), 0, statistic.kind.largest)
        digits = np.empty((statistic.length, statistic.digits), dtype=dtype)
        for place in range(statistic.digits):
            left, digits[:, place] = np.divmod(left, levels)
        parts.append(digits.reshape(-1))
    return np.concatenate(parts)


def decode_sum(
    tail: Lanes, accepted: int, statistics: Sequence[Statistic], *, levels: int
) -> tuple[dict[str, tuple[int, ...]], int]:
    """The sums of one group.

    Returns:
        name -> sums; and how many values no honest group could have: they are cut to 0 .. accepted x largest.
    """
    sums: dict[str, tuple[int, ...]] = {}
    at = cut = 0
    for statistic in statistics:
        digits = tail[at : at + statistic.lanes].reshape(statistic.length, statistic.digits)
        at += statistic.lanes
        most = accepted * statistic.kind.largest
        values = [sum(int(d) * levels**place for place, d in enumerate(row)) for row in digits]
        cut += sum(value > most for value in values)
        sums[statistic.name] = tuple(min(value, most) for value in values)
    return sums, cut


def add(sums: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, tuple[int, ...]]:
    """The sums of several groups together."""
    names = {name for group in sums for name in group}
    return {
        name: tuple(sum(column) for column in zip(*(g[name] for g in sums if name in g), strict=True))
        for name in sorted(names)
    }


def one_hot(bucket: int, length: int) -> tuple[int, ...]:
    """A 1 in one of `length` buckets."""
    return tuple(int(at == bucket) for at in range(length))


def norm_bucket(relative: float) -> int:
    """The bucket of a norm in units of C: half octaves, 1.0 is the lower edge of the middle one."""
    if relative <= 0:
        return 0
    return min(max(int(np.floor(np.log(relative) / np.log(_NORM_STEP))) + NORM_BUCKETS // 2, 0), NORM_BUCKETS - 1)


def norm_edge(bucket: int) -> float:
    """The upper edge of a bucket, in units of C."""
    return float(_NORM_STEP ** (bucket + 1 - NORM_BUCKETS // 2))


def _digits(largest: int, levels: int) -> int:
    digits = 1
    while levels**digits <= largest:
        digits += 1
    return digits
