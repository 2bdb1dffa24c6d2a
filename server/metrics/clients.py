"""Clients: how many do what, and the bounded series of single ones (`roughfed.server.metrics.client_series`)."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.messages import PHASES
from roughfed.server.metrics.recorder import Recorder
from roughfed.telemetry import Family, safely

CLIENT_STATES = ("connected", *PHASES, "quarantined")

FAMILIES = (
    Family(
        "clients", "gauge", "Clients by state; the states overlap, so do not add them up.", {"state": CLIENT_STATES}
    ),
    Family("clients_needed", "gauge", "Clients that must be connected before a round is opened."),
    Family(
        "client_updates_total",
        "counter",
        'Updates by client, for a bounded number of clients (`metrics.per_client`); the rest is client="other".',
        {"client": ()},
        on_scrape=True,
    ),
    Family(
        "client_excluded_total",
        "counter",
        "Rounds in which a client's update was left out by the defence, for the same clients.",
        {"client": ()},
        on_scrape=True,
    ),
    Family(
        "client_last_seen_timestamp_seconds",
        "gauge",
        "Last sign of life of a client (Unix time), for the same clients.",
        {"client": ()},
        on_scrape=True,
    ),
)


class MemberMetrics(Recorder):
    """Clients by state and by name."""

    @safely
    def clients(self, counts: Mapping[str, int]) -> None:
        """Number of clients by state (`CLIENT_STATES`); a state that is not named has none."""
        self._telemetry.fill("clients", "state", counts)

    @safely
    def needed(self, count: int) -> None:
        """So many clients must be connected before a round is opened."""
        self._telemetry.set("clients_needed", count)

    @safely
    def seen(self, client: str) -> None:
        """A sign of life of a client."""
        self._clients.seen(client, self._now())

    @safely
    def forget(self, client: str) -> None:
        """A client was revoked: its series end."""
        self._clients.forget(client)
