"""Per-client series with a bound on their number.

Which clients have a series of their own: none ("off"), those with the most updates that were refused or
left out ("top"), or whoever came first ("all"). The others' updates are counted under "other" at the time they come, so
"other" never goes down and the rates over all series add up even when a client moves in or out of the top.
"""

from __future__ import annotations

import heapq
import math
import re
import threading
from dataclasses import dataclass
from typing import Literal

from roughfed.telemetry import OTHER

PerClient = Literal["top", "all", "off"]

LIMITS: dict[PerClient, int] = {"off": 0, "top": 20, "all": 200}
MAX_TRACKED = 10_000

_NAME = re.compile(r"[a-z0-9-]{1,63}")


@dataclass(slots=True)
class _Client:
    updates: int = 0
    rejected: int = 0
    excluded: int = 0
    last_seen: float = 0.0
    score: float | None = None

    @property
    def suspicious(self) -> int:
        """Updates that were refused, or left out by the defence."""
        return self.rejected + self.excluded


class ClientSeries:
    """Counts by client; read by the page's thread, written by the server's."""

    def __init__(self, mode: PerClient, *, scores: bool = True) -> None:
        """`mode` is the setting `metrics.per_client`; without `scores`, contributions are shown of nobody."""
        self._scores = scores
        self._mode: PerClient = mode
        self._limit = LIMITS[mode]
        self._clients: dict[str, _Client] = {}
        self._other, self._other_excluded = 0, 0
        self._lock = threading.Lock()

    def update(self, client: str, *, rejected: bool) -> None:
        """Count one update."""
        if not self._limit:
            return
        with self._lock:
            entry = self._entry(client)
            if entry is None:
                self._other += 1
                return
            entry.updates += 1
            entry.rejected += rejected
            self._other += client not in self._named()

    def exclude(self, client: str) -> None:
        """Count one exclusion by the defence."""
        if not self._limit:
            return
        with self._lock:
            if entry := self._entry(client):
                entry.excluded += 1
            self._other_excluded += entry is None or client not in self._named()

    def seen(self, client: str, timestamp_s: float) -> None:
        """Note a sign of life (Unix time)."""
        if not self._limit:
            return
        with self._lock:
            if entry := self._entry(client):
                entry.last_seen = max(entry.last_seen, timestamp_s)

    def score(self, client: str, score: float) -> None:
        """Note a client's contribution so far."""
        if not (self._limit and self._scores and math.isfinite(score)):
            return
        with self._lock:
            if entry := self._entry(client):
                entry.score = score

    def forget(self, client: str) -> None:
        """Drop a revoked client's series."""
        with self._lock:
            self._clients.pop(client, None)

    def updates(self) -> list[tuple[tuple[str, ...], float]]:
        """Samples of `client_updates_total`."""
        if not self._limit:
            return []
        with self._lock:
            rows = [((name,), float(self._clients[name].updates)) for name in self._named()]
            return [*rows, ((OTHER,), float(self._other))]

    def exclusions(self) -> list[tuple[tuple[str, ...], float]]:
        """Samples of `client_excluded_total`."""
        if not self._limit:
            return []
        with self._lock:
            rows = [((name,), float(self._clients[name].excluded)) for name in self._named()]
            return [*rows, ((OTHER,), float(self._other_excluded))]

    def last_seen(self) -> list[tuple[tuple[str, ...], float]]:
        """Samples of `client_last_seen_timestamp_seconds`; a time of "other" would mean nothing."""
        with self._lock:
            return [((name,), entry.last_seen) for name in self._named() if (entry := self._clients[name]).last_seen]

    def scores(self) -> list[tuple[tuple[str, ...], float]]:
        """Samples of `client_contribution_score`; a sum of the others' would mean nothing."""
        with self._lock:
            return [((name,), score) for name in self._named() if (score := self._clients[name].score) is not None]

    def _entry(self, client: str) -> _Client | None:
        """The client's counts; None for what is not a client's name, or when there are too many."""
        if entry := self._clients.get(client):
            return entry
        if client == OTHER or not _NAME.fullmatch(client) or len(self._clients) >= MAX_TRACKED:
            return None
        return self._clients.setdefault(client, _Client())

    def _named(self) -> list[str]:
        """Clients with a series of their own; among equals, whoever came first."""
        if len(self._clients) <= self._limit or self._mode != "top":
            return list(self._clients)[: self._limit]
        return heapq.nlargest(self._limit, self._clients, key=lambda name: self._clients[name].suspicious)
