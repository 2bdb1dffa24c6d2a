"""What an operator did, is told and looks at: pause, alerts, pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from roughfed.server.metrics.recorder import Recorder
from roughfed.telemetry import Family, Samples, safely

SEVERITIES = ("critical", "warning", "info")
PAGES = ("page", "static", "metrics", "healthz", "status", "rounds", "events")
STATIC = (".css", ".js", ".json", ".svg", ".png", ".ico")
FRESH_S = 60.0
"""So long after the last look the alerts are shown; the server looks every few seconds."""
CODES = ("200", "400", "401", "403", "404", "405", "414", "429", "431", "500", "503")

FAMILIES = (
    Family("paused", "gauge", "1 while no new round is opened: an operator, or too many abandoned rounds in a row."),
    Family("alert", "gauge", "1 while an alert stands (`roughfed status` says the rest), 0 while it does not.",
           {"alert": (), "severity": SEVERITIES}, on_scrape=True),
    Family("http_requests_total", "counter", "Answers of the HTTP port, by page and code.",
           {"page": PAGES, "code": CODES}),
)  # fmt: skip


class OperationMetrics(Recorder):
    """Operation."""

    _alerts: tuple[float, Mapping[tuple[str, ...], float]] = (-math.inf, MappingProxyType({}))

    @safely
    def paused(self, paused: bool) -> None:
        """Whether new rounds are held back."""
        self._telemetry.set("paused", float(paused))

    @safely
    def alerts(self, standing: Mapping[tuple[str, str], bool]) -> None:
        """(alert, severity) -> whether it stands; all of them, at every look."""
        self._alerts = (self._timer(), {key: float(stands) for key, stands in standing.items()})

    def _alert_samples(self) -> Samples:
        """What was said last; nothing once nobody judges any more, which must not look like health."""
        at, samples = self._alerts
        return samples.items() if self._timer() - at < FRESH_S else ()

    @safely
    def http(self, page: str, code: str | int) -> None:
        """The HTTP port answered; `page` is the path that was asked for."""
        name = page.removeprefix("/api").strip("/") or "page"
        self._telemetry.add("http_requests_total", page="static" if name.endswith(STATIC) else name, code=str(code))
