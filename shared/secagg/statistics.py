"""Secure statistics: named sums that ride behind the codes, so that no single client's numbers are seen.

A value is written in digits to the base L (the levels of the codes), one digit a lane: sums of digits never carry, and
the sum of the values follows exactly. Every statistic has a public bound for each client and value; a group's sum is
cut to what its accepted clients could honestly give. Still one client can move it by the whole range of its group, so
statistics are advisory: priors, reports, schedules with public limits. They never enter the weights of a sum.

A *static* statistic says the same in every round. Summed over groups that are drawn anew it would give every client
away by linear algebra, so a client gives it once a run, and only in a round in which its whole group does. What an
evaluation says, and what a training works out, is given where enough of the group promise it that at least four are in
every sum (`contributors`). What a training works out of its labels hardly changes from round to round, so a client
gives it in a few rounds of a run only (`Kind.often`).

C classes, d features before the last layer. Sums of real numbers are written as integers
(`roughfed.secagg.fixed_point`).
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
from roughfed.types import CONFIDENCE_ONE

MAX_VALUES = 1 << 15
"""All statistics of a round together. Feature sums take 9,556 values and head gradients 12,900 at C = 10, d = 128."""

COUNT = 1 << 20
VOICE = 64
"""Largest cell of a histogram by which clients judge themselves: nobody counts for much more than another."""
LOSS_UNIT = 1.0 / 1024
"""Losses are sent in this unit."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A row.

    Attributes:
        largest: the largest value that one client may give.
        static: told once a run.
        evaluation: of an evaluation of the base model.
        training: worked out by the training, because the header asks for it.
        often: rounds of one run in which a client gives it; 0 has no limit.
        together: what all values of one client add up to at most; 0: whatever their number makes of `largest`.
        unit: of a real number in fixed point: what one step stands for; 0: it is a count.
    """

    largest: int
    static: bool = False
    evaluation: bool = False
    training: bool = False
    often: int = 0
    together: int = 0
    unit: float = 0.0

    @property
    def zero(self) -> int:
        """What stands for 0 in fixed point; values reach as far below as above."""
        return self.largest // 2 if self.unit else 0


def _real(bound: float, unit: float, *, often: int = 0) -> Kind:
    """A real number from -bound to bound, in steps of `unit`."""
    return Kind(2 * round(bound / unit), training=True, often=often, unit=unit)


STEPS = "steps"

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "examples": Kind(COUNT, static=True),
        "class-count": Kind(COUNT, static=True),
        "evaluated": Kind(1, evaluation=True),
        "eval-count": Kind(COUNT, evaluation=True),
        "eval-correct": Kind(COUNT, evaluation=True),
        "confusion": Kind(COUNT - 1, evaluation=True),
        "calibration": Kind(COUNT - 1, evaluation=True),
        "confidence": Kind((COUNT - 1) * CONFIDENCE_ONE, evaluation=True),
        "eval-loss": Kind(64 * 1024, evaluation=True),
        "eval-loss-histogram": Kind(1, evaluation=True, together=1),
        "accuracy-histogram": Kind(1, evaluation=True, together=1),
        "personal-histogram": Kind(1, evaluation=True, together=1),
        "alone-histogram": Kind(1, evaluation=True, together=1),
        "worse-than-alone": Kind(1, evaluation=True),
        "norm-histogram": Kind(1),
        "class-owner": Kind(1, static=True),
        "trained": Kind(1, training=True),
        "transition": Kind(COUNT, training=True, often=3),
        "loss-histogram": Kind(COUNT, training=True, often=10),
        "class-loss-histogram": Kind(VOICE, training=True, often=10),
        "feature-count": Kind(COUNT, training=True, often=3),
        "feature-sum": _real(1 << 16, 1 / 256, often=3),
        "feature-outer": _real(1 << 22, 1 / 64, often=3),
        "head-gradient": _real(1, 1 / 4096),
        STEPS: Kind(1, training=True, often=4, together=1),
    }
)
"""examples: training examples; class-count: those of each class; evaluated: 1 from a client that evaluated the base
model; eval-count, eval-correct: its held-out examples of each class, and those it got right; confusion:
those of each class by the class that the model says, row by row (its row sums are eval-count, its diagonal is
eval-correct, so a round asks for one or the other); calibration: examples in each bin of confidence, then correct ones
in each; confidence: the sum of their confidence in units of 1/1024 (`Evaluation`); eval-loss: its mean loss
in units of 1/1024; eval-loss-histogram: 1 in the bucket of it (`roughfed.secagg.weight_class.loss_point`);
accuracy-histogram: 1 in the bucket of the base model's accuracy there; personal-histogram, alone-histogram: the same
of the client's own model, and of the one that it trained without the others; worse-than-alone: 1 if that one is better
than both, and a 1 from a client that compared; norm-histogram: 1 in the bucket of the norm of its update, before the
clip, relative to C (`norm_bucket`).

class-owner: 1 for each class that it has training examples of [C]; trained: 1 from a client that gives what follows;
transition: its training examples by given label (row) and by the class that they seem to be of [C x C];
loss-histogram, class-loss-histogram: its training examples by their loss under the base model [LOSS_BUCKETS], [C x
CLASS_LOSS_BUCKETS] (`loss_bucket`), the latter scaled down class by class to VOICE; feature-count, feature-sum,
feature-outer: examples [C], sums of features [C x d], and the upper triangle of the sum of the outer products of all
features, row by row [d (d + 1) / 2]; head-gradient: for each class the mean gradient of the last layer over its
examples, weights [C x d] and biases [C], zero where it has none [C x (C d + C)]; steps: 1 in the bucket of the
effective steps that the training made [STEP_BUCKETS] (`step_bucket`)."""

LOSS_BUCKETS = 32
CLASS_LOSS_BUCKETS = 16
_LOSS_STEP = {LOSS_BUCKETS: 2**0.5, CLASS_LOSS_BUCKETS: 2.0}
_LOWEST_LOSS = 2.0**-11

ACCURACY_BUCKETS = 20

NORM_BUCKETS = 32
_NORM_STEP = 2**0.5

STEP_BUCKETS = 160
_STEP_STEP = 2.0**0.125


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
        name -> sums; and how many values no honest group could have: they are cut to 0 .. accepted x largest, or all
        to 0 where together they are more than the accepted could have given.
    """
    sums: dict[str, tuple[int, ...]] = {}
    at = cut = 0
    for statistic in statistics:
        digits = tail[at : at + statistic.lanes].reshape(statistic.length, statistic.digits)
        at += statistic.lanes
        most = accepted * statistic.kind.largest
        values = digits.astype(np.int64) @ (levels ** np.arange(statistic.digits, dtype=np.int64))  # [length]
        cut += int(np.count_nonzero(values > most))
        values = np.minimum(values, most)
        if exceeds(values.tolist(), statistic.kind, accepted):
            cut, values = cut + 1, np.zeros_like(values)
        sums[statistic.name] = tuple(values.tolist())
    return sums, cut


def exceeds(values: Sequence[int], kind: Kind, clients: int = 1) -> bool:
    """Whether so many clients cannot have given these values honestly, taken together."""
    return bool(kind.together) and sum(values) > clients * kind.together


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


def accuracy_bucket(share: float) -> int:
    """The bucket of an accuracy, 0 to 1: `ACCURACY_BUCKETS` equally wide ones, 1 belongs to the last."""
    return min(max(int(share * ACCURACY_BUCKETS), 0), ACCURACY_BUCKETS - 1)


def norm_bucket(relative: float) -> int:
    """The bucket of a norm in units of C: half octaves, 1.0 is the lower edge of the middle one."""
    if relative <= 0:
        return 0
    return min(max(int(np.floor(np.log(relative) / np.log(_NORM_STEP))) + NORM_BUCKETS // 2, 0), NORM_BUCKETS - 1)


def step_bucket(steps: float) -> int:
    """The bucket of a number of steps: 1/8 octaves from 1 to 2^20, the last open."""
    return min(max(int(np.log(max(steps, 1.0)) / np.log(_STEP_STEP) + 1e-9), 0), STEP_BUCKETS - 1)


def step_middle(bucket: int) -> float:
    """The (geometric) middle of such a bucket."""
    return float(_STEP_STEP ** (bucket + 0.5))


def loss_bucket(loss: float, buckets: int = LOSS_BUCKETS) -> int:
    """The bucket of the loss of one example: below 2^-11, then half octaves (octaves, in 16 buckets), the last open."""
    if not loss > _LOWEST_LOSS:
        return 0
    place = np.log(min(loss, 1e6) / _LOWEST_LOSS) / np.log(_LOSS_STEP[buckets])
    return min(1 + int(place), buckets - 1)


def loss_edge(bucket: int, buckets: int = LOSS_BUCKETS) -> float:
    """The upper edge of a bucket; of the last, where it would end."""
    return float(_LOWEST_LOSS * _LOSS_STEP[buckets] ** bucket)


def norm_edge(bucket: int) -> float:
    """The upper edge of a bucket, in units of C."""
    return float(_NORM_STEP ** (bucket + 1 - NORM_BUCKETS // 2))


def _digits(largest: int, levels: int) -> int:
    digits = 1
    while levels**digits <= largest:
        digits += 1
    return digits
