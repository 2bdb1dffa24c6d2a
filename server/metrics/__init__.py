"""What the server tells Prometheus. The methods speak of rounds and clients; none of them ever raises.

One file for each subject: its label values, its table `FAMILIES` and a class with its methods. Labels take their values
from fixed sets (`roughfed.telemetry`). Round numbers, update ids and free text are never labels; client names only in
the bounded series of `server/metrics/client_series.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

from roughfed.server.metrics import (
    calls,
    clients,
    contribution,
    defence,
    fairness,
    fleet,
    groupings,
    learning,
    operation,
    rounds,
    storage,
    transfer,
    updates,
    work,
)
from roughfed.server.metrics.client_series import ClientSeries, PerClient
from roughfed.telemetry import BUILD_INFO, RESIDENT_BYTES, Family, Telemetry, safely

PREFIX = "roughfed_"

SUBJECTS = (
    rounds, clients, updates, transfer, work, defence, learning, fairness, groupings, contribution, fleet, calls,
    operation, storage,
)  # fmt: skip
"""The files, in the order of docs/metrics.md."""

FAMILIES: Sequence[Family] = (
    *(family for subject in SUBJECTS for family in subject.FAMILIES),
    BUILD_INFO,
    RESIDENT_BYTES,
)

LABELS: Mapping[str, Sequence[str]] = MappingProxyType(
    {"codec": ("identity",), "rule": ("examples",), "defence": ("none",), "tier": (), "class": ()}
)
"""Labels whose values the settings give: codecs, weightings, the defence, tiers of clients."""


class ServerMetrics(
    rounds.RoundMetrics,
    clients.MemberMetrics,
    updates.UpdateMetrics,
    transfer.TransferMetrics,
    defence.DefenceMetrics,
    learning.LearningMetrics,
    fairness.FairnessMetrics,
    groupings.GroupingMetrics,
    contribution.ContributionMetrics,
    work.WorkMetrics,
    fleet.FleetMetrics,
    calls.CallMetrics,
    operation.OperationMetrics,
    storage.StorageMetrics,
):
    """Metrics of one aggregator, in a registry of its own."""

    def __init__(
        self,
        *,
        per_client: PerClient = "top",
        labels: Mapping[str, Sequence[str]] = LABELS,
        scores: bool = True,
        now: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start at zero.

        Args:
            per_client: which clients get series of their own.
            labels: values of the labels that the tables leave open (`LABELS`); others count as "other".
            scores: whether those clients' contributions may be shown.
            now: Unix time in seconds.
            timer: a clock in seconds that never goes back.
        """
        self._telemetry = Telemetry(PREFIX, FAMILIES, labels={**LABELS, **labels})
        self._clients = ClientSeries(per_client, scores=scores)
        self._telemetry.on_scrape("client_updates_total", self._clients.updates)
        self._telemetry.on_scrape("client_excluded_total", self._clients.exclusions)
        self._telemetry.on_scrape("client_contribution_score", self._clients.scores)
        self._telemetry.on_scrape("client_last_seen_timestamp_seconds", self._clients.last_seen)
        self._telemetry.on_scrape("alert", self._alert_samples)
        self._now, self._timer = now, timer
        self._phase, self._phase_since = "waiting", timer()
        self._begin()

    @safely
    def _begin(self) -> None:
        self._telemetry.choose("round_phase", "phase", self._phase)
        self._telemetry.set("clusters", 1)

    @safely
    def summarized(self, summary: Mapping[str, object]) -> None:
        """A round's summary was journaled (`roughfed.server.round.summary`): what it says of clients that differ."""
        for key, record in {
            "spread": self.spread,
            "fairness": self.fairness,
            "cluster": self.clusters,
            "tiers": self.tiers,
            "contribution": self.contribution,
            "shares": self.weighed,
        }.items():
            if isinstance(found := summary.get(key), Mapping):
                record(cast("Mapping[str, Any]", found))

    def transferred(self) -> list[dict[str, object]]:
        """Bytes by direction and codec, from the one place where they are counted."""
        rows = self._telemetry.values("transfer_bytes_total")
        return [{("bytes" if key == "value" else key): value for key, value in row.items()} for row in rows]

    def render(self) -> bytes:
        """The page `/metrics`."""
        return self._telemetry.render()
