"""What every part of the server's metrics stands on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable

from roughfed.server.metrics.client_series import ClientSeries
from roughfed.telemetry import Telemetry

PARTS = ("lowest", "median", "highest")


class Recorder:
    """The registry, the series of single clients and the clocks; `ServerMetrics` makes them."""

    _telemetry: Telemetry
    _clients: ClientSeries
    _now: Callable[[], float]
    _timer: Callable[[], float]
    _phase: str
    _phase_since: float

    def _spread(self, name: str, values: Iterable[float]) -> None:
        """Lowest, median and highest of some values; without any, what was said last is no longer true."""
        known = sorted(value for value in values if math.isfinite(value))
        found = (known[0], statistics.median(known), known[-1]) if known else (math.nan,) * len(PARTS)
        for part, value in zip(PARTS, found, strict=True):
            self._telemetry.set(name, value, part=part)
