"""How evenly the models serve the clients, and what clients count for by their loss; no client is named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from roughfed.server.metrics.recorder import PARTS, Recorder
from roughfed.server.metrics.spread import gap, jain
from roughfed.telemetry import Family, safely

MODELS = ("global", "personal", "alone")
PARTS_OF_SPREAD = ("mean", "std", "worst10", "best10")
QUANTILES = ("p10", "p25", "p50", "p75", "p90")
BINS = tuple(f"{number / 20:.2f}" for number in range(20))

FAMILIES = (
    Family(
        "client_accuracy_ratio",
        "gauge",
        "Accuracy over the clients in the last round, of the global model, of their own ones, and of those that they "
        "trained alone: mean, standard deviation, mean of the worst and of the best tenth, quantiles. Behind masks "
        "each is known to 0.025.",
        {"model": MODELS, "part": (*PARTS_OF_SPREAD, *QUANTILES)},
    ),
    Family("client_accuracy_clients", "gauge", "Clients behind these figures.", {"model": MODELS}),
    Family(
        "client_accuracy_bin_clients",
        "gauge",
        "Clients by the global model's accuracy on their data; a bin is 0.05 wide and named by its lower edge.",
        {"bin": BINS},
    ),
    Family(
        "fairness_gap_ratio",
        "gauge",
        "Accuracy of the global model on the best tenth of the clients minus that on the worst tenth.",
        unknown=True,
    ),
    Family(
        "fairness_jain_ratio",
        "gauge",
        "Jain's index of the global model's accuracies over the clients: 1 where all are served alike, 1/n where only "
        "one of n is.",
        unknown=True,
    ),
    Family(
        "worse_than_alone_ratio",
        "gauge",
        "Share of the clients that what they trained alone serves better than the global model and their own one.",
        unknown=True,
    ),
    Family(
        "fairness_weight_ratio",
        "gauge",
        "What clients counted for in the last round by their loss; 1 is a client at the typical loss.",
        {"part": PARTS},
    ),
)


class FairnessMetrics(Recorder):
    """Spread and fairness."""

    @safely
    def spread(self, found: Mapping[str, Any]) -> None:
        """The key "spread" of a round's summary; of what is missing, what was said last is no longer true."""
        for model in MODELS:
            figures: Mapping[str, Any] = found.get(model) or {}
            quantiles: Sequence[float] = figures.get("quantiles") or (math.nan,) * len(QUANTILES)
            known = {part: figures.get(part) for part in PARTS_OF_SPREAD} | dict(zip(QUANTILES, quantiles, strict=True))
            for part, value in known.items():
                self._telemetry.set("client_accuracy_ratio", _number(value), model=model, part=part)
            self._telemetry.set("client_accuracy_clients", figures.get("clients", 0), model=model)
        together: dict[str, Any] = found.get("global") or {}
        bins: Sequence[float] = together.get("bins") or (0,) * len(BINS)
        self._telemetry.fill("client_accuracy_bin_clients", "bin", dict(zip(BINS, bins, strict=True)))
        self._telemetry.set("worse_than_alone_ratio", _number(found.get("worse_than_alone")))
        self._telemetry.set("fairness_gap_ratio", _number(gap(together)))
        self._telemetry.set("fairness_jain_ratio", _number(jain(together)))

    @safely
    def fairness(self, found: Mapping[str, Any]) -> None:
        """The key "fairness" of a round's summary; weights that are told as a histogram have no parts."""
        weights: Mapping[str, Any] = found.get("weights") or {}
        self._spread("fairness_weight_ratio", [w for w in weights.values() if isinstance(w, int | float)])


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
