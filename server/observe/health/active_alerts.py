"""Which alerts stand, and since when: the table against the figures, at most once a second."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from roughfed.server.context.server import ServerContext
from roughfed.server.observe.health import ALERTS
from roughfed.server.observe.health.alert import SEVERITIES, AlertRule
from roughfed.server.observe.health.inputs import Certificates, Disk, HealthInputs
from roughfed.server.observe.health.past_rounds import PastRounds
from roughfed.server.observe.health.reading import inputs_of
from roughfed.telemetry import measured

log = logging.getLogger(__name__)

FASTEST_S = 1.0
SLOWEST_S = 5.0
DISK_S = 10.0

Alert = dict[str, Any]
"""name, severity, since (Unix seconds), text, cure"""


class ActiveAlerts:
    """Alerts with a memory: one that stands keeps its time, and is judged more strictly before it goes."""

    def __init__(self, table: Mapping[str, AlertRule] = ALERTS) -> None:
        """None stands."""
        self._table, self._since = table, dict[str, float]()

    def judge(self, inputs: HealthInputs) -> list[Alert]:
        """Those that stand, the worst first, then the oldest."""
        found: list[Alert] = []
        for name, rule in self._table.items():
            wrong = measured(lambda judge=rule.judge, stands=name in self._since: judge(inputs, stands), None)
            if wrong is None:
                if self._since.pop(name, None) is not None:
                    log.info("alert %s is over", name, extra={"alert": name})
                continue
            if name not in self._since:
                self._since[name] = inputs.now
                log.warning("alert %s: %s; %s", name, wrong.text, wrong.cure, extra={"alert": name})
            severity = wrong.severity or rule.severity
            since = self._since[name]
            found.append({"name": name, "severity": severity, "since": since, "text": wrong.text, "cure": wrong.cure})
        return sorted(found, key=lambda each: (SEVERITIES.index(each["severity"]), each["since"], each["name"]))


class Health:
    """The alerts of one server, and what only they and a status look at.

    Attributes:
        past: the rounds that are over.
        certificates: those of the server.
    """

    def __init__(self, ctx: ServerContext, *, clock: Callable[[], float] = time.time) -> None:
        """Nothing is looked at yet; `clock`: Unix seconds."""
        self._ctx, self._clock = ctx, clock
        self.past = PastRounds(ctx.store)
        self.certificates = Certificates(ctx.config.identity.certificate_days * 86400.0)  # until one is read
        self._active, self._conditions = ActiveAlerts(), dict[str, float]()
        self._disk: Disk | None = None
        self._disk_at = 0.0
        self._at, self._mark = -FASTEST_S, object()
        self._alerts: list[Alert] = []

    @property
    def disk(self) -> Disk:
        """As it was last looked at."""
        if self._disk is None:
            self._disk, self._disk_at = Disk.of(self._ctx.store), time.monotonic()
        return self._disk

    def alerts(self) -> list[Alert]:
        """What is wrong now. Asked again within a second, the same, unless the state of the run has changed.

        Where the server cannot be looked at, it is what was wrong last: nobody's status fails for that.
        """
        return measured(self._look, self._alerts)

    def _look(self) -> list[Alert]:
        ctx, moment = self._ctx, time.monotonic()
        state = ctx.state
        number = None if state.round is None else state.round.number
        mark: object = (state.phase, state.paused, state.stopping, len(ctx.clients.quarantined), number)
        if mark == self._mark and moment - self._at < FASTEST_S:
            return self._alerts
        self._at, self._mark = moment, mark
        inputs = inputs_of(
            ctx, self.disk, self.past.last(), self.certificates, now=self._clock(), since=self._conditions
        )
        self._alerts = self._active.judge(inputs)
        quiet = {(name, rule.severity): False for name, rule in ALERTS.items()}
        ctx.metrics.alerts(quiet | {(each["name"], each["severity"]): True for each in self._alerts})
        return self._alerts

    async def keep_watch(self) -> None:
        """Judge at every change and every few seconds, for the log and the metrics, whether or not anybody looks."""
        event = self._ctx.state.watch()
        try:
            while True:
                event.clear()
                if self._disk is None or time.monotonic() - self._disk_at >= DISK_S:
                    self._disk = await asyncio.to_thread(Disk.of, self._ctx.store)
                    self._disk_at = time.monotonic()
                self.alerts()
                await asyncio.sleep(FASTEST_S)
                with suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), SLOWEST_S - FASTEST_S)
        finally:
            self._ctx.state.unwatch(event)
