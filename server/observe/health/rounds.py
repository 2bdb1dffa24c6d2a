"""Alerts about rounds: one that does not end, none that succeeds, a run that is held, clients that do not come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from roughfed.server.observe.health.alert import Firing, duration, most
from roughfed.server.observe.health.inputs import HealthInputs, PastRound

LATE_S = 120.0
"""A round is stalled this long after its deadline, or half its deadline where that is longer: it still adds up."""
IDLE_S = 180.0
"""So long may a server with enough clients open no round: after abandoned rounds it waits up to a minute."""
MISSED_S = 180.0
"""So long may clients be missed between two rounds."""
SETTLE_S = 60.0
"""After a start, clients come back one by one."""
REMINDER_S = 3600.0
"""A run that its operator paused is no fault; one that was forgotten is."""

LOST, LOST_BADLY = 2, 4
"""Abandoned rounds in a row."""
PAUSES = 5
"""After so many the server pauses the run (`roughfed.server.round.run`); with fewer, its operator did."""
LOOKED_BACK = 3
"""Rounds that participation is looked at over."""
TOO_FEW, ENOUGH = 0.6, 0.75
"""Share of the wanted updates that came: below the first it fires, from the second on it goes."""


def stalled(inputs: HealthInputs, stands: bool) -> Firing | None:
    """A round that is open long after its deadline, or none although nothing is missing."""
    del stands  # a round that ends is no longer stalled
    if inputs.finished:
        return None
    if (one := inputs.open) is not None:
        over = inputs.now - one.deadline_at
        if over < max(LATE_S, one.deadline_s / 2):
            return None
        return Firing(
            f"round {one.number} is open {duration(over)} after its deadline",
            "roughfed status: what it waits for; then roughfed stop && roughfed server, which goes on with it",
        )
    if inputs.ready_since is None or inputs.paused or (idle := inputs.now - inputs.ready_since) < IDLE_S:
        return None
    return Firing(
        f"enough clients are here, and no round was opened for {duration(idle)}",
        "look at the server's log; roughfed stop && roughfed server goes on where it stopped",
    )


PUT_BACK = ("lost", "restored")
"""Reasons of `roughfed.server.storage.rollback`: a restore, and nothing that keeps rounds from being played."""


def abandoned(inputs: HealthInputs, stands: bool) -> Firing | None:
    """Rounds that bring nothing, one after another; of this process only: a start may have mended the cause."""
    del stands
    lost = _lost(inputs)
    if inputs.finished or len(lost) < LOST:
        return None
    reasons = Counter(each.reason or "no reason" for each in lost)
    return Firing(
        f"the last {len(lost)} rounds were abandoned ({most(reasons)})",
        "roughfed rounds --last 5: who did not deliver; a longer round.deadline or a lower round.quorum may help",
        "critical" if len(lost) >= LOST_BADLY else None,
    )


def paused(inputs: HealthInputs, stands: bool) -> Firing | None:
    """A run that the server has paused after abandoned rounds, or that its operator may have forgotten."""
    del stands
    if inputs.finished or not inputs.paused:
        return None
    if len(lost := _lost(inputs)) >= PAUSES:
        return Firing(
            f"the run is paused after {len(lost)} abandoned rounds in a row",
            "mend the cause (roughfed rounds --last 5), then roughfed resume",
        )
    since = max((each.closed_at for each in inputs.rounds), default=inputs.started_at)
    if (idle := inputs.now - max(since, inputs.started_at)) < REMINDER_S or inputs.open is not None:
        return None
    return Firing(f"the run is paused, and nothing has happened for {duration(idle)}", "roughfed resume", "info")


def participation(inputs: HealthInputs, stands: bool) -> Firing | None:
    """Too few of the wanted updates come, or between two rounds too few clients are there to go on."""
    if inputs.finished or inputs.paused or inputs.now - inputs.started_at < SETTLE_S:
        return None
    if inputs.waiting and inputs.rounds and inputs.waiting_since is not None:
        missed = inputs.now - inputs.waiting_since
        if missed >= MISSED_S:
            return Firing(
                f"no round for {duration(missed)}: {inputs.waiting}",
                "roughfed status: who is gone; roughfed doctor on a client's machine says why",
            )
    last = _of_this_process(inputs)[-LOOKED_BACK:]
    wanted = sum(each.goal for each in last)
    if len(last) < LOOKED_BACK or not wanted:
        return None
    came = sum(min(each.goal, each.asked - len(each.dropped)) for each in last)
    if came >= (ENOUGH if stands else TOO_FEW) * wanted:
        return None
    missing = Counter(name + (" gone" if name in each.gone else " late") for each in last for name in each.dropped)
    return Firing(
        f"{came} of {wanted} wanted updates came in the last {len(last)} rounds; missing: {most(missing)}",
        "roughfed rounds --last 5; clients that are only slow need a longer round.deadline or round.patience",
    )


def _of_this_process(inputs: HealthInputs) -> Sequence[PastRound]:
    return [each for each in inputs.rounds if each.closed_at >= inputs.started_at]


def _lost(inputs: HealthInputs) -> Sequence[PastRound]:
    """The abandoned rounds at the end, but for those that a restored backup had open or has lost."""
    mine = _of_this_process(inputs)
    kept = max((i for i, each in enumerate(mine) if each.outcome == "committed"), default=-1)
    return [each for each in mine[kept + 1 :] if each.reason not in PUT_BACK]
