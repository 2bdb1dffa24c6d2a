"""The clock of a simulation in which nobody is lost: it stands while a round is open.

All clients share this machine, and with it a training takes longer the more of them there are: a deadline that struck
then would say how busy the machine is, and the same seed would not give the same model. Whoever fails says so.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from roughfed.server.context.clock import RoundClock
from roughfed.server.context.server import ServerContext

HANGS_S = 600.0
"""Where nothing at all happens for so long, or for the deadline of a round, something hangs: then time goes on."""


class StandingClock(RoundClock):
    """Goes on between rounds only."""

    def __init__(self, ctx: ServerContext) -> None:
        """It is the machine's time still."""
        self._ctx, self._ahead = ctx, 0.0
        self._hangs_s = max(HANGS_S, ctx.config.round.deadline)

    def __call__(self) -> float:
        """What time it is."""
        return time.monotonic() + self._ahead

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        """As of `RoundClock`."""
        if until is None or (round_ := self._ctx.state.round) is None or round_.row.outcome is not None:
            await super().wait(event, until)
            return
        began = time.monotonic()
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), self._hangs_s)
        self._ahead += began - time.monotonic() if event.is_set() else max(0.0, until - self())
