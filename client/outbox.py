"""What this client says to its server: messages in their order, and what it is doing, now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from roughfed.client.metrics import ClientMetrics
from roughfed.messages import ClientMessage, Heartbeat, Hello

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
PHASE_S = 0.05
"""What a client does for less than that, nobody sees: in a small round it would be most of the messages."""


class Outbox:
    """Messages that wait for a stream, whichever is open."""

    def __init__(self, metrics: ClientMetrics) -> None:
        """Nothing waits. `metrics` are told of every phase."""
        self._metrics = metrics
        self._messages: asyncio.Queue[ClientMessage] = asyncio.Queue()
        self._told: asyncio.TimerHandle | None = None
        self.phase = Heartbeat()

    def send(self, message: ClientMessage) -> None:
        """Put a message into whichever stream is open."""
        self._messages.put_nowait(message)

    def enter(self, phase: str, progress: float) -> None:
        """Record what this client is doing; the server hears of every new phase that lasts `PHASE_S`."""
        before, self.phase = self.phase, Heartbeat(phase, progress)
        if phase != before.phase:
            log.debug("phase %s", phase)
            self._metrics.phase(phase)
            if self._told is not None:
                self._told.cancel()
            self._told = asyncio.get_running_loop().call_later(PHASE_S, self._tell)

    def _tell(self) -> None:
        self._told = None
        self.send(self.phase)

    def progress(self, share: float) -> None:
        """Progress of local training, 0 to 1."""
        if share - self.phase.progress >= 0.1:
            self.phase = Heartbeat(self.phase.phase, share)
            if self._told is None:
                self.send(self.phase)

    def restart(self, hello: Hello) -> None:
        """A new stream: what waited for the last one is dropped."""
        self._messages = asyncio.Queue()
        if self._told is not None:
            self._told.cancel()
            self._told = None
        self.send(hello)
        self.send(self.phase)

    async def messages(self, completed: Callable[[ClientMessage], ClientMessage]) -> AsyncIterator[ClientMessage]:
        """What goes into a stream, each message as `completed` gives it back; a heartbeat where nothing else waits."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    message = await self._messages.get()
            except TimeoutError:
                message = self.phase
            yield completed(message)
