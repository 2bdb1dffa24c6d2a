"""How updates are combined, and what the defence finds."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.server.metrics.recorder import PARTS, Recorder
from roughfed.telemetry import WORK_S, Family, safely

DEFENCE_REASONS = (
    "copy", "together", "disagrees", "long", "root", "norm-bound", "krum", "multi-krum", "bulyan", "fltrust", "flame",
    "dnc", "foolsgold",
)  # fmt: skip
"""Why a listed rule leaves an update out; a rule from elsewhere counts under "other"."""

FAMILIES = (
    Family(
        "aggregate_seconds", "histogram", "Time to combine the updates of a round, by weighting.", {"rule": ()}, WORK_S
    ),
    Family("aggregate_norm", "gauge", "L2 norm of the last mean of updates, in units of the parameters.", unknown=True),
    Family(
        "defence_excluded_total",
        "counter",
        "Updates that the defence left out, by rule and reason.",
        {"defence": (), "reason": DEFENCE_REASONS},
    ),
    Family("defence_seconds", "histogram", "Time to reach the verdicts of a round, by rule.", {"defence": ()}, WORK_S),
    Family(
        "defence_rows", "gauge", "Updates (or groups) that the defence judged last, kept or left out.", unknown=True
    ),
    Family("defence_tolerated", "gauge", "Attackers among them that it was to hold against, f.", unknown=True),
    Family(
        "defence_score",
        "gauge",
        "The figures that the defence went by last, in the rule's own unit; larger is more suspicious.",
        {"part": PARTS},
    ),
    Family(
        "defence_weight_ratio",
        "gauge",
        "Weights that the defence gave last, where it gives any; 1 is what each has in a plain mean.",
        {"part": PARTS},
    ),
)


class DefenceMetrics(Recorder):
    """Aggregation and defence."""

    @safely
    def aggregated(self, rule: str, seconds: float, *, norm: float) -> None:
        """The updates of a round were combined, to one of this L2 norm."""
        self._telemetry.set("aggregate_norm", norm)
        self._telemetry.observe("aggregate_seconds", seconds, rule=rule)

    @safely
    def defended(
        self,
        defence: str,
        seconds: float,
        *,
        rows: int,
        tolerated: int,
        scores: Mapping[str, float],
        weights: Mapping[str, float],
    ) -> None:
        """A rule judged so many rows against so many attackers; its figures by row, which are not shown by row."""
        self._telemetry.observe("defence_seconds", seconds, defence=defence)
        self._telemetry.set("defence_rows", rows)
        self._telemetry.set("defence_tolerated", tolerated)
        self._spread("defence_score", scores.values())
        self._spread("defence_weight_ratio", (weight * len(weights) for weight in weights.values()))

    @safely
    def excluded(self, defence: str, reason: str, *, client: str = "") -> None:
        """A rule left an update out for a reason (`DEFENCE_REASONS`), and whose it was, if it is known."""
        self._telemetry.add("defence_excluded_total", defence=defence, reason=reason)
        if client:
            self._clients.exclude(client)
