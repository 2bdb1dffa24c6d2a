"""Every start of a server on its run: when, by which version, at which round, with which settings, and how it ended.

A run outlives its server's processes, and each of these reads fed.toml again. What was changed in between, and which
process was killed, is part of what happened.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roughfed.journal import Journal


@dataclass(frozen=True, slots=True)
class Start:
    """One start.

    Attributes:
        started_at: Unix seconds.
        software: version of roughfed.
        round: the last round that was opened before it; 0: none.
        settings: all of them, nested, as they were in force.
        ended: why this process ended; None: it has not, or was killed, or failed.
    """

    started_at: float
    software: str
    round: int
    settings: Mapping[str, Any]
    ended: str | None


async def note_start(journal: Journal, settings: Mapping[str, Any], *, software: str, now: float) -> int:
    """Journal a start; its number. Settings that are those of the start before are not written again."""
    text = json.dumps(settings, sort_keys=True)

    def work(db: sqlite3.Connection) -> int:
        known = db.execute(
            "SELECT settings FROM starts WHERE settings IS NOT NULL ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        last = db.execute("SELECT COALESCE(MAX(round), 0) AS round FROM rounds").fetchone()["round"]
        given = None if known is not None and known["settings"] == text else text
        row = (now, software, last, given)
        added = db.execute("INSERT INTO starts (started_at, software, round, settings) VALUES (?, ?, ?, ?)", row)
        return int(added.lastrowid or 0)

    return await journal.write(work)


async def note_end(journal: Journal, number: int, reason: str, *, now: float) -> None:
    """Journal that the process of a start ended by itself, and why."""
    row = (reason, now, number)
    await journal.write(lambda db: db.execute("UPDATE starts SET ended = ?, ended_at = ? WHERE seq = ?", row))


def starts(journal: Journal) -> list[Start]:
    """All of them, oldest first; those before this was noted are not among them."""
    settings: Mapping[str, Any] = {}
    found: list[Start] = []
    for row in journal.read("SELECT * FROM starts ORDER BY seq"):
        settings = settings if row["settings"] is None else json.loads(row["settings"])
        found.append(Start(row["started_at"], row["software"], row["round"], settings, row["ended"]))
    return found
