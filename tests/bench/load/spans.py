"""When clients had something to transfer, from their logs; and what of a line's rate became of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

Span = tuple[float, float]
"""Begin and end, Unix seconds."""

PHASE = "phase "
"""How an agent's debug line begins when it begins to do something else (`roughfed.client.outbox`)."""


def phases(log: Path) -> list[tuple[float, str]]:
    """What an agent did from when on, from the JSON lines of its log (level DEBUG)."""
    found: list[tuple[float, str]] = []
    for line in log.read_text().splitlines():
        if f'"msg": "{PHASE}' in line:
            record = json.loads(line)
            found.append((datetime.fromisoformat(record["time"]).timestamp(), record["msg"].removeprefix(PHASE)))
    return found


def spans(found: Sequence[tuple[float, str]], phase: str) -> Iterator[Span]:
    """From when to when it was in a phase; one that never ended is left out."""
    for (begin, what), (end, _) in pairwise(found):
        if what == phase:
            yield begin, end


def covered(each: Iterable[Span]) -> float:
    """Seconds in which there was at least one."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted(each):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total
