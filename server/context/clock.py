"""The time that rounds go by: deadlines, graces, how long who owes an answer is waited for.

It is the machine's own, except in a simulation (`roughfed.deploy.simulate.dropout_outcomes`), where a deadline that
only clients who are known to be gone would be waited for is over at once.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress


class RoundClock:
    """Monotonic seconds."""

    def __call__(self) -> float:
        """What time it is."""
        return time.monotonic()

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        """Return when the event is set, or at `until`; None = only with the event."""
        with suppress(TimeoutError):
            # Not `wait_for`: before Python 3.12 it makes a task, and drops a cancellation that meets the event.
            async with asyncio.timeout(None if until is None else max(0.0, until - self())):
                await event.wait()
