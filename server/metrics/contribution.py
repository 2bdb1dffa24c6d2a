"""What clients contribute: scores as a whole and of a bounded number of clients, free-riders, tiers."""

from __future__ import annotations

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


class ContributionMetrics(Recorder):
    """Scores, free-riders, tiers."""

    @safely
    def contribution(self, found: Mapping[str, Any]) -> None:
        """The key "contribution" of a round's summary, or what comes to it later: scores, and tiers after them."""
        for reason in (found.get("free_riders") or {}).values():
            self._telemetry.add("free_riders_total", reason=reason)
        if scores := found.get("scores"):
            totals = {name: parts["total"] for name, parts in scores.items() if "total" in parts}
            self._telemetry.set("contribution_clients", len(scores))
            self._telemetry.add("contribution_evaluations_total", found.get("evaluations") or 0)
            self._spread("contribution_score", totals.values())
            for name, total in totals.items():
                self._clients.score(name, total)
        if tiers := found.get("tiers"):
            self._spread("reward_quality_ratio", tiers.values())
