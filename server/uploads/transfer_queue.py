"""Where transfers wait for their turn: the clock, the timer and the futures around `transfer_scheduler`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from roughfed.allocator import give_back
from roughfed.errors import StaleRound
from roughfed.server.uploads.transfer_scheduler import Pacing, TransferTicket

LOOK_S = 0.25
"""How often those who wait are thought of where nothing happens: weights change as time goes by."""

SMALL_BYTES = 1 << 16
"""What has less than this to move never waits."""


QUIET_BYTES = 32 << 20
"""What so much moved through has left behind is given back once nothing moves any more; less is not worth it."""


class TransferGate:
    """One direction: `async with gate.place(client) as moved: ... moved(count)`."""

    def __init__(self, limit: float, *, on_quiet: Callable[[], object] = give_back) -> None:
        """Nobody is here.

        Args:
            limit: so many transfers run at full speed at once.
            on_quiet: called in a thread when nothing moves any more, after `QUIET_BYTES`: memory that held transfers is
                needed by what follows them, and the malloc keeps it.
        """
        self.pacing = Pacing(limit)
        self._on_quiet, self._moved = on_quiet, 0
        self._calls: dict[TransferTicket, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def place(self, client: str, *, waits: bool) -> AsyncGenerator[Callable[[int], None]]:
        """Wait until this client's turn has come, and keep its place until the block is left.

        Args:
            client: whose transfer.
            waits: False: count it, but let it in at once.

        Yields:
            what to call with the number of bytes that moved.

        Raises:
            StaleRound: a newer transfer of this client took over while this one waited.
        """
        loop = asyncio.get_running_loop()
        ticket = self.pacing.ask(client, loop.time(), waits=waits)
        try:
            self._drop()
            if ticket.began is None:
                self._calls[ticket] = call = loop.create_future()
                self._look()
                await call
            yield lambda count: self._move(ticket, count)
        finally:
            self._calls.pop(ticket, None)
            self.pacing.leave(ticket, loop.time())
            self._look()
            self._quieten()

    def _move(self, ticket: TransferTicket, count: int) -> None:
        self.pacing.moved(ticket, count, asyncio.get_running_loop().time())
        self._moved += count

    def _quieten(self) -> None:
        """Give back what transfers have left behind, if this was the last one."""
        if self._moved >= QUIET_BYTES and not self.pacing.running and not self.pacing.waiting:
            self._moved = 0
            asyncio.get_running_loop().run_in_executor(None, self._on_quiet)

    def _drop(self) -> None:
        """End the waiting of those whose place a newer transfer has."""
        for ticket, call in list(self._calls.items()):
            if ticket.over and not call.done():
                call.set_exception(StaleRound("a newer transfer of this client took over", reason="superseded"))

    def _look(self) -> None:
        """Call in whose turn has come; look again soon if somebody still waits."""
        loop = asyncio.get_running_loop()
        for ticket in self.pacing.let_in(loop.time()):
            if (call := self._calls.get(ticket)) is not None and not call.done():
                call.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(LOOK_S, self._look) if self.pacing.waiting else None
