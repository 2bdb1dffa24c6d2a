"""What the summaries of the newest rounds say of clients that differ, for an operator: read from the journal alone."""

from __future__ import annotations

import json
from typing import Any

from roughfed.server.store import Store

KEYS = ("spread", "fairness", "cluster", "classes", "contribution")
SCORED = ("method", "scores", "intervals", "tiers")
"""What is said of contributions once they are scored."""

ROUNDS = 32
"""Rounds looked back over: not every one knows everything, and a status is asked for often."""


def newest_told(store: Store) -> dict[str, dict[str, Any]]:
    """The newest summary that has each key.

    Returns:
        key -> {"round": its number, "found": what the summary says (`roughfed.report.unlike.parts`)}; a key that none
        of the last rounds knows is not there. Contributions are scored after a round: what the newest does not say of
        them yet, the one before says.
    """
    sql = "SELECT round, summary FROM rounds WHERE summary IS NOT NULL ORDER BY round DESC LIMIT ?"
    told: dict[str, dict[str, Any]] = {}
    for row in store.journal.read(sql, ROUNDS):
        summary: dict[str, Any] = json.loads(row["summary"])
        for key in KEYS:
            if not (found := summary.get(key)):
                continue
            if key not in told:
                told[key] = {"round": row["round"], "found": found}
            elif key == "contribution" and not told[key]["found"].get("scores"):
                told[key]["found"] = {**told[key]["found"], **{k: found[k] for k in SCORED if k in found}}
    return told
