"""A clock for tests of hours: it stands still, and jumps to what is waited for when it is told to."""

from __future__ import annotations

import asyncio
import signal
from datetime import datetime


class JumpingClock:
    """A clock that stands at a moment. Each `jump` ends one wait, at the moment that was waited for."""

    def __init__(self, now: float) -> None:
        """Stand at a moment, Unix seconds."""
        self._now = now
        self._jumps = asyncio.Semaphore(0)

    def now(self) -> float:
        """Unix seconds."""
        return self._now

    async def until(self, moment: float) -> None:
        """Return once somebody lets it jump."""
        await self._jumps.acquire()
        self._now = moment

    def jump(self) -> None:
        """Let it jump to what is waited for, now or next."""
        self._jumps.release()


class SignalledClock(JumpingClock):
    """One that jumps at SIGUSR1, for another process to drive."""

    def __init__(self, start: str) -> None:
        """Stand at a moment, in ISO format with its offset from UTC."""
        super().__init__(datetime.fromisoformat(start).timestamp())
        self._heard = False

    async def until(self, moment: float) -> None:
        """Return at the next SIGUSR1."""
        if not self._heard:
            self._heard = True
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.jump)
            print("the clock stands", flush=True)
        await super().until(moment)
