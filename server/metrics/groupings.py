"""Clients told apart: clusters with a model each, tiers that send different parts of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roughfed.server.metrics.recorder import Recorder
from roughfed.telemetry import Family, safely

CLUSTERS = tuple(str(number) for number in range(16))
"""Clusters with a series of their own; the clients of others are counted together."""
EVENTS = ("split", "chosen", "joined-default")

TIERS = (
    Family("tier_clients", "gauge", "Clients that sent an update in the last round, by tier.", {"tier": ()}),
    Family(
        "tier_upload_bytes", "gauge", "Bytes that one client's upload took in the last round, by tier.", {"tier": ()}
    ),
    Family("tier_void_total", "counter", "Rounds in which a tier gave no sum.", {"tier": ()}),
)

FAMILIES = (
    Family("clusters", "gauge", "Clusters with a model of their own; one where clients are not told apart."),
    Family("cluster_clients", "gauge", "Clients by cluster.", {"cluster": CLUSTERS}),
    Family("cluster_events_total", "counter", "Rounds after which clients changed clusters.", {"event": EVENTS}),
    *TIERS,
    *(
        Family(
            one.name.replace("tier", "class"), one.kind, f"Old name of roughfed_{one.name}, until 0.3.", {"class": ()}
        )
        for one in TIERS
    ),
)


class GroupingMetrics(Recorder):
    """Clusters and tiers."""

    @safely
    def clusters(self, found: Mapping[str, Any]) -> None:
        """The key "cluster" of a round's summary."""
        members: Mapping[str, Any] = found["clusters"]
        self._telemetry.set("clusters", len(members))
        self._telemetry.fill("cluster_clients", "cluster", {name: len(those) for name, those in members.items()})
        if event := found.get("event"):
            self._telemetry.add("cluster_events_total", event=event)

    @safely
    def tiers(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        """The key "tiers" of a round's summary."""
        clients = {name: each["clients"] for name, each in found.items()}
        self._telemetry.fill("tier_clients", "tier", clients)
        self._telemetry.fill("class_clients", "class", clients)
        for name, each in found.items():
            self._telemetry.set("tier_upload_bytes", each["bytes"], tier=name)
            self._telemetry.set("class_upload_bytes", each["bytes"], **{"class": name})
            if each.get("void"):
                self._telemetry.add("tier_void_total", 1, tier=name)
                self._telemetry.add("class_void_total", 1, **{"class": name})
