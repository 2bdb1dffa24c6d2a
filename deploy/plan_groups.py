"""The groups of a masked round: how large, how wide the lanes, who may be missing, and how often a group is void.

g is the size of a group, t the answers that it needs to be unmasked, c its clients that may collude.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from roughfed.codec.plan import plan_lanes
from roughfed.config import FederationConfig
from roughfed.masked_round import largest_group
from roughfed.secagg.groups import group_sizes, promised_colluders, smallest_sum, threshold

LOST = 0.1
EXCLUDED = 0.2


@dataclass(frozen=True, slots=True)
class Void:
    """How often a group is void when clients fail independently of one another.

    Attributes:
        lost: chance of a client to be lost before it uploads.
        excluded: chance of a client that is there to be left out of the sum. It is alive and answers.
        few_answers: chance of fewer than t answers; everybody who is there answers.
        few_accepted: chance of fewer accepted inputs than the smallest sum.
        void: chance of either.
    """

    lost: float
    excluded: float
    few_answers: float
    few_accepted: float
    void: float


@dataclass(frozen=True, slots=True)
class Grouping:
    """The groups of a round, the least favourable one for every number.

    Attributes:
        sizes: clients in each group, largest first.
        lane_bits: bits of a code.
        levels: values that a code can have.
        smallest_sum: fewest clients whose updates are ever added up.
        may_collude: clients of one group that may, with the server, and each sum still has the inputs of 3 others.
        may_not_answer: clients that may fall silent after the uploads, g - t.
        may_be_lost: clients that may be lost before: the rest must answer, and make up the smallest sum.
        may_be_excluded: clients that the defence may leave out, g - smallest sum.
        void: share of void groups at some losses.
    """

    sizes: tuple[int, ...]
    lane_bits: int
    levels: int
    smallest_sum: int
    may_collude: int
    may_not_answer: int
    may_be_lost: int
    may_be_excluded: int
    void: tuple[Void, ...]


def grouping(config: FederationConfig, invited: int) -> Grouping:
    """The groups when all that are invited take part.

    Args:
        config: settings of a masked federation.
        invited: clients of the round, 4 or more.
    """
    sizes = tuple(group_sizes(invited))
    lanes = plan_lanes(largest_group(invited), bits=config.codec.lane_bits or None)
    answers, accepted = min(g - threshold(g) for g in sizes), min(g - smallest_sum(g) for g in sizes)
    return Grouping(
        sizes=sizes,
        lane_bits=lanes.bits,
        levels=lanes.levels,
        smallest_sum=min(map(smallest_sum, sizes)),
        may_collude=min(promised_colluders(g) for g in sizes),
        may_not_answer=answers,
        may_be_lost=min(min(g - threshold(g), g - smallest_sum(g)) for g in sizes),
        may_be_excluded=accepted,
        void=(void_share(sizes, lost=LOST), void_share(sizes, lost=LOST, excluded=EXCLUDED)),
    )


def void_share(sizes: Sequence[int], *, lost: float, excluded: float = 0.0) -> Void:
    """The share of void groups, by the binomial distributions of who is there and who of them is accepted."""
    rows = [_void(g, lost, excluded) for g in sizes]
    few_answers, few_accepted, void = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    return Void(lost, excluded, few_answers, few_accepted, void)


def _void(g: int, lost: float, excluded: float) -> tuple[float, float, float]:
    few_answers = few_accepted = void = 0.0
    for there in range(g + 1):
        chance = binomial(g, there, 1 - lost)
        short = sum(binomial(there, k, 1 - excluded) for k in range(min(smallest_sum(g), there + 1)))
        few_accepted += chance * short
        if there < threshold(g):
            few_answers += chance
            void += chance
        else:
            void += chance * short
    return few_answers, few_accepted, void


def binomial(n: int, k: int, p: float) -> float:
    """Chance that k of n happen, each with chance p."""
    return comb(n, k) * p**k * (1 - p) ** (n - k)
