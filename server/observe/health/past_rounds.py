"""The rounds that are over, as alerts and a live view need them; each is read from the journal once or twice."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from typing import Any

from roughfed.measures import figures
from roughfed.server.model.retention import class_counts, whole
from roughfed.server.observe.health.inputs import DefenceOutcome, ModelAccuracy, PastRound
from roughfed.server.storage.store import ABSENT, ACCEPTED, GONE, Store

KEPT = 60
"""Rounds; enough for a curve on a wide terminal."""
UNSETTLED = 2
"""What the clients measure of a round's version comes with the round after it."""

_COLUMNS = "round, cohort, goal, sets, outcome, reason, closed_at, summary, cluster"


class PastRounds:
    """The last rounds, and how often each client was part of a sum."""

    def __init__(self, store: Store) -> None:
        """Nothing is read yet."""
        self._store = store
        self._rounds: dict[int, PastRound] = {}
        self._counted = 0
        self._changes: int | None = None
        self.accepted: Counter[str] = Counter()

    def last(self) -> list[PastRound]:
        """Up to `KEPT` rounds, oldest first."""
        if (changes := self._store.journal.changes()) != self._changes:
            self._count()
            self._read()
            self._changes = changes
        return list(self._rounds.values())

    def _count(self) -> None:
        sql = "SELECT round, outcome, sets FROM rounds WHERE round > ? AND outcome IS NOT NULL ORDER BY round"
        for row in self._store.journal.read(sql, self._counted):
            self._counted = row["round"]
            if row["outcome"] == "committed":
                sets: dict[str, str] = json.loads(row["sets"] or "{}")
                self.accepted.update(client for client, why in sets.items() if why == ACCEPTED)

    def _read(self) -> None:
        settled = list(self._rounds)[-UNSETTLED - 1 :][:1]
        sql = f"SELECT {_COLUMNS} FROM rounds WHERE round > ? AND outcome IS NOT NULL ORDER BY round DESC LIMIT ?"  # noqa: S608
        rows = self._store.journal.read(sql, settled[0] if len(self._rounds) > UNSETTLED else 0, KEPT)
        counts = class_counts(self._store) if rows else []
        for row in reversed(rows):
            self._rounds[row["round"]] = _past(self._store, row, counts)
        for number in list(self._rounds)[:-KEPT]:
            del self._rounds[number]


def _past(store: Store, row: sqlite3.Row, counts: list[int]) -> PastRound:
    sets: dict[str, str] = json.loads(row["sets"] or "{}")
    summary: dict[str, Any] = json.loads(row["summary"] or "{}")
    defence: dict[str, Any] = summary.get("defence") or {}
    groups: list[dict[str, Any]] = summary.get("groups") or []
    return PastRound(
        number=row["round"],
        outcome=row["outcome"],
        reason=row["reason"],
        closed_at=row["closed_at"] or 0.0,
        cluster=row["cluster"],
        goal=row["goal"],
        asked=len(json.loads(row["cohort"])),
        accepted=frozenset(client for client, why in sets.items() if why == ACCEPTED),
        dropped=tuple(client for client, why in sets.items() if why in ABSENT),
        gone=tuple(client for client, why in sets.items() if why == GONE),
        excluded={client: why for client, why in sets.items() if why != ACCEPTED and why not in ABSENT},
        defence=DefenceOutcome(
            rule=str(defence.get("rule", "")),
            judged=int(defence.get("judged", 0)),
            tolerated=int(defence.get("f", 0)),
            left_out=dict(defence.get("excluded") or {}),
            suspects=tuple(defence.get("suspects") or ()),
        ),
        groups=len(groups),
        void=tuple((tuple(each["members"]), each["void"]) for each in groups if each["void"]),
        seconds=float(summary.get("seconds", 0.0)),
        upload_bytes=int(summary.get("upload_bytes", 0)),
        download_bytes=int(summary.get("download_bytes", 0)),
        model=_measured(store, row, counts),
    )


def _measured(store: Store, row: sqlite3.Row, counts: list[int]) -> ModelAccuracy:
    """What was measured of the version that the round made."""
    made = store.lineage.made_in(row["round"]) if row["outcome"] == "committed" else None
    if made is None or (found := whole(store, made)[0]) is None:
        return ModelAccuracy()
    shares = figures(found, counts)
    return ModelAccuracy(found.num_examples, shares.accuracy, shares.balanced, shares.tail, shares.worst)
