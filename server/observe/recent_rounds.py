"""What the summaries of the newest rounds say of clients that differ, for an operator: read from the journal alone."""

from __future__ import annotations

import json
from typing import Any

from roughfed.server.storage.store import Store

KEYS = ("spread", "fairness", "cluster", "tiers", "contribution")
SCORED = ("method", "scores", "intervals", "levels")
"""What is said of contributions once they are scored."""

ROUNDS = 32
"""Rounds looked back over: not every one knows everything, and a status is asked for often."""


def newest_told(store: Store) -> dict[str, dict[str, Any]]:
    """The newest summary that has each key; see `Told`."""
    return Told(store)()


class Told:
    """The newest summary that has each key; asked again, it decodes only what has changed."""

    def __init__(self, store: Store) -> None:
        """Nothing is read yet."""
        self._store = store
        self._decoded: dict[int, tuple[str, dict[str, Any]]] = {}

    def __call__(self) -> dict[str, dict[str, Any]]:
        """Look into the journal.

        Returns:
            key -> {"round": its number, "found": what the summary says (`roughfed.report.heterogeneity.parts`)}; a key
            that none of the last rounds knows is not there. Contributions are scored after a round: what the newest
            does not say of them yet, the one before says.
        """
        told: dict[str, dict[str, Any]] = {}
        for number, summary in self._summaries().items():
            for key, found in summary.items():
                if key not in told:
                    told[key] = {"round": number, "found": found}
                elif key == "contribution" and not told[key]["found"].get("scores"):
                    told[key]["found"] = {**told[key]["found"], **{k: found[k] for k in SCORED if k in found}}
        return told

    def _summaries(self) -> dict[int, dict[str, Any]]:
        """What the last rounds say under `KEYS`, the newest first."""
        sql = "SELECT round, summary FROM rounds WHERE summary IS NOT NULL ORDER BY round DESC LIMIT ?"
        found: dict[int, tuple[str, dict[str, Any]]] = {}
        for row in self._store.journal.read(sql, ROUNDS):
            number, text = row["round"], row["summary"]
            known = self._decoded.get(number)
            found[number] = known if known is not None and known[0] == text else (text, _told(text))
        self._decoded = found
        return {number: told for number, (_, told) in found.items()}


def _told(text: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(text)
    return {key: found for key in KEYS if (found := summary.get(key))}
