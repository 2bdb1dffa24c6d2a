"""When this client takes part (client.toml, [participate]): the windows of its owner, load, and the battery.

Outside its windows a client holds no session. When one closes, it ends the round that it is in, if that fits into the
overrun, says when it will be back, and waits for the next one with one timer. A job that could not be done in time is
refused before anything is done for it; the client goes then, since the next one would not fit either.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from roughfed.config.participate import Participate
from roughfed.errors import StaleRound

log = logging.getLogger(__name__)

WINDOW, LOAD, BATTERY = "window", "load", "battery"
REASONS = (WINDOW, LOAD, BATTERY)
"""Why a client sits a round out that it was asked into."""

POWER = Path("/sys/class/power_supply")

LONGEST_S = 30 * 86_400.0
"""Windows come again within a week; an event loop cannot wait for ever."""

Job = asyncio.Task[None]


class Clock(Protocol):
    """What tells the time, and wakes."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    async def until(self, moment: float) -> None:
        """Return at a moment, in Unix seconds."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    async def until(self, moment: float) -> None:
        """Return at a moment, or earlier if the clock is set back meanwhile: who waits looks at it again."""
        await asyncio.sleep(max(0.0, min(moment - time.time(), LONGEST_S)))


class Availability:
    """Whether this client takes part now, and until when. Moments are Unix seconds."""

    def __init__(self, settings: Participate, clock: Clock, *, power: Path = POWER) -> None:
        """Open, whatever the windows are, until `opened` is asked."""
        self._settings, self._clock, self._power = settings, clock, power
        self._schedule = settings.schedule()
        self._shut_until = 0.0  # what is left of a window in which nothing fits any more
        self._early = asyncio.Event()
        self.away_until: float | None = None

    @property
    def limited(self) -> bool:
        """Whether there are windows at all."""
        return bool(self._schedule.windows)

    def shown(self, moment: float) -> str:
        """A moment as the clock of the windows shows it, "Sat 22:00"."""
        wall: datetime = self._schedule.wall(moment)
        return f"{wall:%a %H:%M}"

    def next_opening(self) -> float | None:
        """When the client may take part again; None: it may now, or never any more."""
        moment = max(self._clock.now(), self._shut_until)
        if self._schedule.is_open(moment):
            return moment if moment > self._clock.now() else None
        return self._schedule.changes(moment)

    async def wait_until_open(self, enter: Callable[[str, float], None]) -> None:
        """Wait until a window is open.

        Args:
            enter: told the phase, where there is anything to wait for.
        """
        while (moment := self.next_opening()) is not None:
            self.away_until = moment
            log.info("away until %s (client.toml, participate.windows)", self.shown(moment))
            enter("away", 0.0)
            await self._clock.until(moment)
        if self.away_until is not None:
            self.away_until = None
            log.info("back: the window is open")
            enter("idle", 0.0)

    async def wait_until_over(self, job: Callable[[], Job | None]) -> float:
        """Wait until this client goes: its window has closed, and the round that it was in is done with.

        Args:
            job: what is under way.

        Returns:
            seconds until it may be back.
        """
        self._early.clear()
        while (closes := self._closes()) > self._clock.now():  # the clock may have been set back, or never close
            await first(self._clock.until(closes), self._early.wait())
        if (task := job()) is not None and not task.done():
            latest = self._latest(closes)
            log.info("the window has closed; the round that is under way may take until %s", self.shown(latest))
            await first(asyncio.wait({task}), self._clock.until(latest))
            if not task.done():
                log.warning("the round that was under way takes too long; it goes on without this client")
                task.cancel()
                await asyncio.wait({task})
        next_opening = self.next_opening()
        return 0.0 if next_opening is None else next_opening - self._clock.now()

    def check(self, seconds_left: float) -> None:
        """May a job be begun that has so many seconds?

        Raises:
            StaleRound: reason "window", "load" or "battery": this client sits the round out.
        """
        now = self._clock.now()
        if self.limited:
            closes = self._closes()
            if not self._schedule.is_open(now) or now + seconds_left > self._latest(closes):
                self._shut_until = closes
                self._early.set()
                raise StaleRound(
                    f"the job may take until {self.shown(now + seconds_left)}, this client takes part until "
                    f"{self.shown(closes)} (client.toml, participate.windows and overrun)",
                    reason=WINDOW,
                )
        most = self._settings.max_load
        if most and (load := os.getloadavg()[0] / (os.cpu_count() or 1)) > most:
            raise StaleRound(f"the load is {load:.2f}, at most {most} (client.toml, participate.max_load)", reason=LOAD)
        if not self._settings.on_battery and discharging(self._power):
            raise StaleRound("this machine is on its battery (client.toml, participate.on_battery)", reason=BATTERY)

    def _closes(self) -> float:
        """When the window closes; now, if none is open."""
        now = self._clock.now()
        if now < self._shut_until or not self._schedule.is_open(now):
            return now
        changes = self._schedule.changes(now)
        return float("inf") if changes is None else changes

    def _latest(self, closes: float) -> float:
        return closes + self._settings.overrun


async def first(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when the first of some coroutines is done; the others are cancelled."""
    tasks = [asyncio.create_task(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def discharging(folder: Path) -> bool:
    """Whether a battery of this machine (not of a mouse) gives its power, by `/sys/class/power_supply`."""
    for supply in folder.glob("*"):
        kind, status, scope = (_word(supply / name) for name in ("type", "status", "scope"))
        if kind == "Battery" and status == "Discharging" and scope != "Device":
            return True
    return False


def _word(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""
