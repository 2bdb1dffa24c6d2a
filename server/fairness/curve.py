"""Behind masks: the table of weight classes that the next job brings, out of what clients say together of their losses.

Each says in which of 64 buckets its loss lies; sums that at least four are behind give the median, and what the rule
makes of each loss beside it, cut to the cap, is said in advance. Four classes have a lowest one: a weight cannot fall
below cap / 4 of the typical client's, which is where the rule ends downwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roughfed.secagg.adverts import FULL
from roughfed.secagg.weight_class import LARGEST, LOSS_POINTS, Table, loss_at, median_loss
from roughfed.server.fairness.rule import FairnessRule
from roughfed.server.fairness.weights import capped

ROUNDS_TOLD = 8
"""Rounds with a row: a client that last took part before them counts as a typical one."""

POINTS = [loss_at(point) for point in range(LOSS_POINTS)]


def table(rule: FairnessRule, told: Mapping[int, Sequence[int]], *, strength: float, cap: float) -> Table | None:
    """The table of the next round.

    Args:
        rule: a row of RULES.
        told: number of a round -> clients by the bucket of their loss, [LOSS_POINTS].
        strength: of the rule, q or t.
        cap: largest weight, relative to that of a typical client; 1 to 4.

    Returns:
        None before anybody told anything: then all weigh the same.
    """
    known = {number: loss for number, counts in told.items() if (loss := median_loss(counts)) is not None}
    newest = sorted(known)[-ROUNDS_TOLD:]
    if not newest:
        return None
    rows = {number: row(rule, known[number], strength=strength, cap=cap) for number in newest}
    return Table(usual(cap), rows)


def row(rule: FairnessRule, typical: float, *, strength: float, cap: float) -> tuple[float, ...]:
    """Expected quarters by loss, where so much is typical; to five digits, since a job carries them.

    The classes cut them to 1 to 4, at the client: a weight to cap / 4 to cap.
    """
    floor = cap / FULL / LARGEST
    weights = capped(rule, POINTS, typical=typical, strength=strength, cap=LARGEST * cap / FULL, floor=floor)
    return tuple(min(max(float(f"{weight * FULL / cap:.5g}"), 1 / LARGEST), LARGEST) for weight in weights)


def usual(cap: float) -> float:
    """Expected quarters of a typical client: a whole one's are the cap."""
    return float(f"{FULL / cap:.5g}")
