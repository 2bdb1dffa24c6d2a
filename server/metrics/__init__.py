"""What the server tells Prometheus. The methods speak of rounds and clients; none of them ever raises.

One file for each subject: its label values, its table `FAMILIES` and a class with its methods. Labels take their values
from fixed sets (`roughfed.telemetry`). Round numbers, update ids and free text are never labels; client names only in
the bounded series of `server/client_series.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from roughfed.server.client_series import ClientSeries, PerClient
from roughfed.server.metrics import calls, clients, defence, learning, rounds, storage, transfer, updates
from roughfed.telemetry import BUILD_INFO, RESIDENT_BYTES, Telemetry

PREFIX = "roughfed_"

FAMILIES = (
    *rounds.FAMILIES,
    *clients.FAMILIES,
    *updates.FAMILIES,
    *transfer.FAMILIES,
    *defence.FAMILIES,
    *learning.FAMILIES,
    *calls.FAMILIES,
    *storage.FAMILIES,
    BUILD_INFO,
    RESIDENT_BYTES,
)


class ServerMetrics(
    rounds.RoundMetrics,
    clients.MemberMetrics,
    updates.UpdateMetrics,
    transfer.TransferMetrics,
    defence.DefenceMetrics,
    learning.LearningMetrics,
    calls.CallMetrics,
    storage.StorageMetrics,
):
    """Metrics of one aggregator, in a registry of its own."""

    def __init__(
        self,
        *,
        per_client: PerClient = "top",
        codecs: Sequence[str] = ("identity",),
        rules: Sequence[str] = ("examples",),
        defences: Sequence[str] = ("none",),
        now: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start at zero.

        Args:
            per_client: which clients get series of their own.
            codecs: names of the codecs; others count as "other".
            rules: names of the aggregation rules; others count as "other".
            defences: names of the defences; others count as "other".
            now: Unix time in seconds.
            timer: a clock in seconds that never goes back.
        """
        self._telemetry = Telemetry(PREFIX, FAMILIES, labels={"codec": codecs, "rule": rules, "defence": defences})
        self._clients = ClientSeries(per_client)
        self._telemetry.on_scrape("client_updates_total", self._clients.updates)
        self._telemetry.on_scrape("client_excluded_total", self._clients.exclusions)
        self._telemetry.on_scrape("client_last_seen_timestamp_seconds", self._clients.last_seen)
        self._now, self._timer = now, timer
        self._phase, self._phase_since = "waiting", timer()
        self._telemetry.choose("round_phase", "phase", "waiting")

    def render(self) -> bytes:
        """The page `/metrics`."""
        return self._telemetry.render()
