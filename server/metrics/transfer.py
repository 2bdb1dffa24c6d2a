"""Bytes on the wire."""

from __future__ import annotations

from roughfed.server.metrics.recorder import Recorder
from roughfed.telemetry import Family, safely

DIRECTIONS = ("up", "down")

FAMILIES = (
    Family(
        "transfer_bytes_total",
        "counter",
        "Payload bytes on the wire, seen from the clients (up: updates, down: models).",
        {"direction": DIRECTIONS, "codec": ()},
    ),
    Family(
        "transfer_raw_bytes_total",
        "counter",
        "The same payload as float32; the ratio to the wire bytes is the compression.",
        {"direction": DIRECTIONS},
    ),
    Family("transfer_resumes_total", "counter", "Transfers that went on from the middle after a break."),
)


class TransferMetrics(Recorder):
    """Payload up and down."""

    @safely
    def transfer(self, direction: str, wire_bytes: int, raw_bytes: int, codec: str) -> None:
        """Payload that crossed the wire, and its size as float32 (`DIRECTIONS`)."""
        self._telemetry.add("transfer_bytes_total", wire_bytes, direction=direction, codec=codec)
        self._telemetry.add("transfer_raw_bytes_total", raw_bytes, direction=direction)

    @safely
    def resumed(self) -> None:
        """A transfer went on from the middle."""
        self._telemetry.add("transfer_resumes_total")
