"""What the groups of a masked round give: a sum for the next model, statistics, verdicts, the next clip norm."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from roughfed.codec.clip_schedule import ClipLimits, follow_histogram, follow_norms, max_step
from roughfed.crypto.masks import Lanes
from roughfed.masked_round import Masking
from roughfed.secagg import statistics
from roughfed.secagg.adverts import FULL
from roughfed.secagg.server import GroupRound
from roughfed.secagg.unmasking import Outcome, Timing, untimed
from roughfed.server.defence.verdict import Coefficients, Coordinatewise
from roughfed.server.masked.group_sums import Apart
from roughfed.server.masked.stages import MaskedRound
from roughfed.server.storage.store import VOID
from roughfed.types import BINS, CONFIDENCE_ONE, Evaluation

Flat = NDArray[np.float32]

Sums = Mapping[str, tuple[int, ...]]

NOBODY: Mapping[int, str] = MappingProxyType({})


@dataclass
class TierSum:
    """What one tier of clients gave.

    Attributes:
        masking: its public side.
        total: sum of all its accepted clients' codes, unsigned [M]; None when none of its groups counts.
        accepted: who is in it, by name.
        quarters: their weight classes added up: what `total` is divided by.
        norms: estimated norms of their updates, in units of the tier's C.
        sums: their statistics.
        combine: how the means of its groups become one, where the defence says so; `total` is None then.
        apart: its groups, where they were kept apart for a defence.
    """

    masking: Masking
    total: NDArray[np.unsignedinteger] | None = None
    accepted: tuple[str, ...] = ()
    quarters: int = 0
    norms: list[float] = field(default_factory=list[float])
    sums: Sums = field(default_factory=dict[str, tuple[int, ...]])
    combine: Coefficients | Coordinatewise | None = None
    apart: Apart | None = None

    @property
    def weight(self) -> float:
        """The weights of its accepted clients, added up."""
        return self.quarters / FULL


@dataclass
class Result:
    """What a masked round gave.

    Attributes:
        tiers: what each tier of clients gave, the standard one first.
        accepted: whose update is in one of their sums, by name.
        quarters: weight class of each of them.
        reasons: why the others with a seat are not.
        void: why each void group is void, by its number.
        proofs: who is proved to have broken the protocol, and how.
        noted: who failed in a way that proves nothing.
        sums: the statistics.
        contributors: clients behind the sums.
        cut: values of the statistics that no honest group could have.
    """

    tiers: list[TierSum] = field(default_factory=list[TierSum])
    accepted: tuple[str, ...] = ()
    quarters: dict[str, int] = field(default_factory=dict[str, int])
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    void: dict[int, str] = field(default_factory=dict[int, str])
    proofs: dict[str, str] = field(default_factory=dict[str, str])
    noted: dict[str, str] = field(default_factory=dict[str, str])
    sums: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    contributors: int = 0
    cut: int = 0

    def discard(self) -> None:
        """Delete what was kept in files."""
        for one in self.tiers:
            if one.apart is not None:
                one.apart.discard()


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What one group gave.

    Attributes:
        tier: place of its tier in the round.
        number: of the group in the round.
        accepted: who is in its sum.
        sums: its statistics.
        cut: values of them that no honest group could have.
        norms: estimated norms of its accepted updates, in units of C.
    """

    tier: int
    number: int
    accepted: tuple[str, ...]
    sums: Mapping[str, Sequence[int]]
    cut: int
    norms: list[float]


def unmask(
    round_: MaskedRound, read: Callable[[str], Lanes], apart: Sequence[Apart] = (), *, time: Timing = untimed
) -> tuple[Result, list[GroupResult]]:
    """Unmask every group, one after another.

    Args:
        round_: the round, all answers taken.
        read: name -> masked lanes.
        apart: of each tier, where sums are kept for a defence to judge; none adds them up as they come.
        time: as of `GroupRound.finish`.

    Returns:
        what is known of the round already, and a part of each group that has a sum.
    """
    result = Result([TierSum(one.masking) for one in round_.tiers])
    parts: list[GroupResult] = []
    number = 0
    for place, one in enumerate(round_.tiers):
        for _ in one.groups:
            outcome = round_.groups[number].finish(read, time)
            part = _taken(result, round_, (place, number), outcome, apart[place] if apart else None)
            parts += [] if part is None else [part]
            number += 1
    return result, parts


def _taken(
    result: Result, round_: MaskedRound, where: tuple[int, int], outcome: Outcome, apart: Apart | None
) -> GroupResult | None:
    """One group, (tier, number); None when it is void."""
    place, number = where
    one, into = round_.tiers[place], result.tiers[place]
    group, masking = round_.groups[number], one.masking
    result.proofs |= outcome.proofs
    result.noted |= {name: what for name, what in outcome.noted.items() if name}
    result.reasons |= group.verdicts
    if outcome.total is None:
        result.void[number] = outcome.void
        result.reasons |= {name: VOID for name, why in group.verdicts.items() if not why}
        return None
    within = _within(outcome.total, outcome.accepted, masking)
    if apart is None:
        into.total = _add(into.total, within, alone=len(one.groups) == 1)
    else:
        apart.put(number, within, list(round_.quarters(outcome.accepted).values()))
    accepted, levels = outcome.accepted, masking.terms.levels
    sums, cut = statistics.decode_sum(outcome.tail, len(accepted), masking.statistics, levels=levels)
    return GroupResult(place, number, accepted, sums, cut, _norms(group, accepted, masking))


def settle(
    result: Result, parts: Sequence[GroupResult], round_: MaskedRound, excluded: Mapping[int, str] = NOBODY
) -> Result:
    """Put together what counts.

    Args:
        result: of `unmask`; changed.
        parts: likewise.
        round_: the round.
        excluded: number of a group -> why the defence leaves it out, with all its clients and its statistics.
    """
    for part in parts:
        if (reason := excluded.get(part.number)) is not None:
            result.reasons |= dict.fromkeys(part.accepted, reason)
            continue
        one = result.tiers[part.tier]
        one.accepted += part.accepted
        one.norms += part.norms
        result.cut += part.cut
    counted = [part for part in parts if part.number not in excluded]
    for place, one in enumerate(result.tiers):
        one.sums = statistics.add([part.sums for part in counted if part.tier == place])
        one.accepted = tuple(sorted(one.accepted))
        one.quarters = sum(round_.quarters(one.accepted).values())
    result.accepted = tuple(sorted(name for one in result.tiers for name in one.accepted))
    result.quarters = round_.quarters(result.accepted)
    result.contributors = len(result.accepted)
    result.sums = statistics.add([part.sums for part in counted])
    result.reasons |= result.proofs
    return result


def _within(part: Lanes, accepted: Sequence[str], masking: Masking) -> Lanes:
    """One group's sum; what lies beyond its honest range is cut to it."""
    top = masking.terms.dtype.type(len(accepted) * (masking.terms.levels - 1))
    return np.minimum(part, top, out=part)


def _add(total: NDArray[np.unsignedinteger] | None, part: Lanes, *, alone: bool) -> NDArray[np.unsignedinteger]:
    """Add one group's sum."""
    if alone:
        return part
    if total is None:
        return part.astype(np.uint32)
    np.add(total, part, out=total, casting="unsafe")
    return total


def _norms(group: GroupRound, accepted: Sequence[str], masking: Masking) -> list[float]:
    if not masking.terms.dim:
        return []
    norms = group.norms()
    return [norms[name][0] for name in accepted]


def next_clip(one: TierSum, *, number: int, limits: ClipLimits) -> float:
    """C of a tier in the next round.

    Args:
        one: what it gave in this one.
        number: of this one.
        limits: public limits.
    """
    clip_norm, keep_one_in = one.masking.params.clip_norm, one.masking.params.keep_one_in
    step = max_step(number + 1)
    if one.norms:
        norms = [norm * clip_norm for norm in one.norms]
        return follow_norms(clip_norm, norms, limits, step=step, keep_one_in=keep_one_in)
    histogram = one.sums.get("norm-histogram", ())
    edges = [statistics.norm_edge(bucket) * clip_norm for bucket in range(len(histogram))]
    return follow_histogram(clip_norm, histogram, edges, limits, step=step)


def summed_evaluation(result: Result, model_digest: bytes) -> Evaluation | None:
    """The accepted clients' evaluation of the base model, as one; None when none evaluated."""
    sums = result.sums
    evaluated = (sums.get("evaluated") or (0,))[0]
    if not evaluated:
        return None
    count, correct = _by_class(sums)
    examples = sum(count) or evaluated
    mean_loss = sums["eval-loss"][0] * statistics.LOSS_UNIT / evaluated
    return Evaluation(
        model_digest,
        examples,
        mean_loss * examples,
        count,
        correct,
        confusion=sums.get("confusion", ()),
        calibration=_calibration(sums) if count else (),
    )


def _by_class(sums: Sums) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Examples and correct ones of each class: out of the confusion matrix, where the round asked for one."""
    if confusion := sums.get("confusion"):
        width = math.isqrt(len(confusion))
        rows = (confusion[at : at + width] for at in range(0, len(confusion), width))
        return tuple(sum(row) for row in rows), confusion[:: width + 1]
    count = sums.get("eval-count", ())
    return count, tuple(min(k, n) for k, n in zip(sums.get("eval-correct", ()), count, strict=True))


def _calibration(sums: Sums) -> tuple[int, ...]:
    """As in `Evaluation`; what no examples could give is cut to what they could."""
    bins, confidence = sums.get("calibration", ()), sums.get("confidence", ())
    if len(bins) != 2 * BINS or len(confidence) != BINS:
        return ()
    count, correct = bins[:BINS], bins[BINS:]
    cut = (min(k, n) for k, n in zip(correct, count, strict=True))
    sure = (min(amount, n * CONFIDENCE_ONE) for amount, n in zip(confidence, count, strict=True))
    return (*count, *cut, *sure)
