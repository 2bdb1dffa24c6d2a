"""What an alert is: a row of the table (`roughfed.server.observe.health.ALERTS`), and what it says when it fires."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from roughfed.server.observe.health.inputs import HealthInputs

Severity = Literal["critical", "warning", "info"]

SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
"""The worst first."""

NAMED = 5
"""Clients that one sentence names."""


@dataclass(frozen=True, slots=True)
class Firing:
    """Something is wrong.

    Attributes:
        text: who or what, with numbers; one sentence without a full stop.
        cure: what to type or do.
        severity: where it is another one than its row's.
    """

    text: str
    cure: str
    severity: Severity | None = None


Condition = Callable[[HealthInputs, bool], Firing | None]
"""(the figures, whether it stands already) -> what is wrong. One that stands may ask for more before it goes: so an
alert does not flap around its threshold."""


@dataclass(frozen=True, slots=True)
class AlertRule:
    """A row of the table.

    Attributes:
        severity: as a rule.
        meaning: when it fires, for people; a part of a sentence.
        judge: what decides it.
    """

    severity: Severity
    meaning: str
    judge: Condition


def some(names: Iterable[str]) -> str:
    """A few names, and how many more there are."""
    known = sorted(names)
    more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
    return ", ".join(known[:NAMED]) + more


def most(counts: Counter[str]) -> str:
    """Those with most, with their counts."""
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    more = f" and {len(ranked) - NAMED} more" if len(ranked) > NAMED else ""
    return ", ".join(f"{name} {counts[name]}x" for name in ranked[:NAMED]) + more


def duration(seconds: float) -> str:
    """A time in words, in one unit."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
