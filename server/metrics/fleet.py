"""What the clients' machines do, all connected clients together: from their heartbeats, for those who tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from roughfed.server.metrics.recorder import PARTS, Recorder
from roughfed.telemetry import Family, safely

_PART = {"part": PARTS}

FAMILIES = (
    Family("fleet_train_seconds", "gauge", "Duration of the clients' last local trainings.", _PART),
    Family("fleet_resident_bytes", "gauge", "Resident memory of agent and trainer, over the clients.", _PART),
    Family("fleet_gpu_memory_bytes", "gauge", "Memory in use of the clients' GPUs.", _PART),
    Family(
        "fleet_gpu_utilization_ratio", "gauge", "Share of the last moments in which the clients' GPUs worked.", _PART
    ),
    Family(
        "fleet_clock_skew_seconds",
        "gauge",
        "How far the clients' clocks are ahead of the server's (below zero: behind); what a message takes is in it.",
        _PART,
    ),
    Family(
        "fleet_cert_expiry_timestamp_seconds",
        "gauge",
        "When the connected clients' certificates end (Unix time); the lowest ends first.",
        _PART,
    ),
)


class FleetMetrics(Recorder):
    """The machines of all connected clients, of which none is named."""

    @safely
    def fleet(self, values: Mapping[str, Iterable[float]]) -> None:
        """What is known of the connected clients' machines, by the family that it belongs to."""
        for name in (
            "fleet_train_seconds",
            "fleet_resident_bytes",
            "fleet_gpu_memory_bytes",
            "fleet_gpu_utilization_ratio",
            "fleet_clock_skew_seconds",
            "fleet_cert_expiry_timestamp_seconds",
        ):
            self._spread(name, values.get(name, ()))
