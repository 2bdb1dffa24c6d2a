"""What clients contribute: scores as a whole and of a bounded number of clients, free-riders, levels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from roughfed.server.metrics.recorder import PARTS, Recorder
from roughfed.telemetry import Family, safely

FREE_RIDERS = ("zero", "noise", "last-step", "own-old", "copy")

FAMILIES = (
    Family(
        "contribution_score",
        "gauge",
        "Scores of the clients over all rounds so far, in the method's own unit.",
        {"part": PARTS},
    ),
    Family(
        "contribution_share_ratio",
        "gauge",
        "Shares of the clients in all that was contributed: a score, if above zero, of the sum of those that are.",
        {"part": PARTS},
    ),
    Family(
        "client_weight_ratio",
        "gauge",
        "What the clients' updates counted for in the last sum; 1 is what each counts for in a plain mean.",
        {"part": PARTS},
    ),
    Family("ledger_entries_total", "counter", "Lines that were written into the ledger."),
    Family("contribution_clients", "gauge", "Clients with a score."),
    Family("contribution_evaluations_total", "counter", "Models of coalitions that were evaluated for the scores."),
    Family(
        "free_riders_total",
        "counter",
        "Client-rounds that were taken for a free-rider's, by what speaks for it.",
        {"reason": FREE_RIDERS},
    ),
    Family(
        "reward_quality_ratio",
        "gauge",
        "Quality of the models that are exported to the clients; 1 is the whole one.",
        {"part": PARTS},
    ),
    Family(
        "client_contribution_score",
        "gauge",
        "Score of a client over all rounds so far, for the clients of `client_updates_total`; never where the server "
        'sees only sums (`privacy.server_sees = "sums"`).',
        {"client": ()},
        on_scrape=True,
    ),
)


def shares_of(totals: Mapping[str, float]) -> list[float]:
    """Each client's share in what all contributed; of no use where nobody's score is above zero, and empty then."""
    gains = [max(0.0, total) for total in totals.values() if math.isfinite(total)]
    whole = math.fsum(gains)
    return [gain / whole for gain in gains] if whole > 0 else []


class ContributionMetrics(Recorder):
    """Scores, free-riders, levels."""

    @safely
    def contribution(self, found: Mapping[str, Any]) -> None:
        """The key "contribution" of a round's summary, or what comes to it later: scores, and levels after them."""
        riders: Mapping[str, str] = found.get("free_riders") or {}
        for reason in riders.values():
            self._telemetry.add("free_riders_total", reason=reason)
        if scores := found.get("scores"):
            totals = {name: parts["total"] for name, parts in scores.items() if "total" in parts}
            self._telemetry.set("contribution_clients", len(scores))
            self._telemetry.add("contribution_evaluations_total", found.get("evaluations") or 0)
            self._spread("contribution_score", totals.values())
            self._spread("contribution_share_ratio", shares_of(totals))
            for name, total in totals.items():
                self._clients.score(name, total)
        if levels := found.get("levels"):
            self._spread("reward_quality_ratio", levels.values())

    @safely
    def weighed(self, shares: Mapping[str, float]) -> None:
        """The key "shares" of a round's summary: client -> its part of the weight in the sum, which add up to 1."""
        self._spread("client_weight_ratio", (share * len(shares) for share in shares.values()))

    @safely
    def ledger(self, entries: int) -> None:
        """So many lines more are in the ledger."""
        self._telemetry.add("ledger_entries_total", entries)
