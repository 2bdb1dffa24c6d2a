"""Alerts about what the model can: its accuracy, and that on the classes with fewest examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from statistics import median

from roughfed.server.model.validation import TAKEN_BACK
from roughfed.server.observe.health.alert import Firing
from roughfed.server.observe.health.inputs import HealthInputs, PastRound

BEFORE, LEAST = 5, 3
"""Earlier measurements that the newest is held against, and without how many there is nothing to hold it against."""
STANDARD_ERRORS = 3.0
"""A drop within so many standard errors of the measurement is chance."""
CALM = 0.6
"""An alert that stands goes when the drop is below this part of what makes it fire."""


def dropped(
    inputs: HealthInputs,
    stands: bool,
    *,
    what: str,
    of: Callable[[PastRound], float | None],
    by: float,
    share: float = 1.0,
) -> Firing | None:
    """The newest measurement lies far below the median of those before.

    Args:
        inputs: the figures.
        stands: whether it stands.
        what: name of the measure.
        of: the measure of a round.
        by: drop that counts, 0..1.
        share: of the examples, that the measure is about.
    """
    measured = [each for each in inputs.rounds if of(each) is not None]
    if inputs.finished or not measured:
        return None
    newest = measured[-1]
    before = [value for each in measured[:-1] if each.cluster == newest.cluster and (value := of(each)) is not None]
    if len(before) < LEAST:
        return None
    usual, now = median(before[-BEFORE:]), of(newest) or 0.0
    chance = STANDARD_ERRORS * math.sqrt(usual * (1 - usual) / max(1.0, share * newest.model.examples))
    needed = max(by, chance) * (CALM if stands else 1.0)
    if usual - now <= needed:
        return None
    return Firing(
        f"{what} fell to {now:.1%} in round {newest.number}, from {usual:.1%} (median of {len(before[-BEFORE:])})",
        "roughfed rounds --last 8: what changed with it; roughfed export takes the best version, not the newest",
        "critical" if usual - now > 3 * by else None,
    )


def taken_back(inputs: HealthInputs, stands: bool) -> Firing | None:
    """The newest rounds made versions that failed on the server's data, and that are none any more."""
    del stands  # the next version that stands ends it
    lost = list(takewhile(lambda each: each.reason.startswith(TAKEN_BACK), reversed(inputs.rounds)))
    if inputs.finished or not lost:
        return None
    newest = lost[0]
    fault = newest.reason.removeprefix(TAKEN_BACK).lstrip(": ")
    more = f" ({len(lost)} rounds in a row)" if len(lost) > 1 else ""
    return Firing(
        f"what round {newest.number} made was taken back: {fault} on the server's data{more}",
        "roughfed rounds --last 8: who was in these rounds and not in those before; roughfed quarantine NAME leaves "
        "one out; a higher defence.rollback, where such falls are normal",
    )


accuracy = partial(dropped, what="accuracy", of=lambda each: each.model.accuracy, by=0.05)
tail_accuracy = partial(
    dropped, what="accuracy on the tail classes", of=lambda each: each.model.tail, by=0.1, share=0.1
)
