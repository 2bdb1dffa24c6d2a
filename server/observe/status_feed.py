"""The status as bytes: made on the event loop, and only while somebody watches or asks.

HTTP threads get bytes; none of them touches what the event loop works on. However many ask, the status is made at most
once in `FASTEST_S`, and takes at most a tenth of the loop's time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from pydantic_core import to_json

from roughfed.httpd import Feed
from roughfed.server.context.server import ServerContext
from roughfed.server.observe.status import Status
from roughfed.telemetry import safely

FASTEST_S = 0.4
QUIETEST_S = 5.0
"""Watchers are told at least once in so long, though nothing happened: elapsed times and clients' figures move."""
REST = 9.0
"""The loop has so many times as long for other things as a status takes."""
ANSWER_S = 5.0
"""An HTTP thread waits so long for the event loop."""
ALIVE_S = 3.0
"""Who asks whether the server is well waits so long: less than a probe's patience."""
LINGER_S = 0.5
"""At the end, watchers get so long to ask for the last round."""
FAREWELL_S = 1.0


class Published:
    """What HTTP threads get to know of a federation."""

    def __init__(self, ctx: ServerContext, status: Status) -> None:
        """To be made on the event loop, where `keep` is run."""
        self.feed = Feed(on_watched=self._watched)
        self._ctx, self._status, self._loop = ctx, status, asyncio.get_running_loop()
        self._changed, self._wanted = ctx.state.watch(), asyncio.Event()
        self._waiting: list[Future[bytes]] = []
        self._newest = (b"", -FASTEST_S)
        self._rounds: tuple[int, int, float] | None = None

    # -- on the event loop ---------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Publish until it is cancelled."""
        while True:
            if not (self.feed.watchers or self._waiting):
                await self._wanted.wait()
            self._wanted.clear()
            self._changed.clear()
            began = time.perf_counter()
            self._publish()
            await asyncio.sleep(max(FASTEST_S, REST * (time.perf_counter() - began)))
            if self.feed.watchers and not self._waiting:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), QUIETEST_S)

    async def stop(self) -> None:
        """Tell watchers how it ended, and let them go."""
        self._ctx.state.unwatch(self._changed)
        self._publish()
        if self.feed.watchers:
            await asyncio.sleep(LINGER_S)
        await asyncio.to_thread(self.feed.close, patience_s=FAREWELL_S)

    @safely
    def _publish(self) -> None:
        waiting, self._waiting = self._waiting, []
        found = to_json(self._status() | {"phase_seconds": self._ctx.state.phases()}, inf_nan_mode="null")
        self._newest = (found, time.monotonic())
        for each in waiting:
            _settle(each, found)
        self.feed.publish("status", found)
        row = self._ctx.store.journal.read(
            "SELECT max(round) AS round, count(summary) AS told, total(outcome = 'abandoned') AS lost "
            "FROM rounds WHERE outcome IS NOT NULL"
        )[0]
        if (rounds := (row["round"] or 0, row["told"], row["lost"])) != self._rounds or not self.feed.watchers:
            self._rounds = rounds
            self.feed.publish("round", to_json({"round": rounds[0]}))

    def _wake(self) -> None:
        self._wanted.set()
        self._changed.set()

    def _ask(self, answer: Future[bytes]) -> None:
        found, made_at = self._newest
        if time.monotonic() - made_at < FASTEST_S:
            _settle(answer, found)
            return
        self._waiting.append(answer)
        self._wake()

    # -- in any thread -------------------------------------------------------------------------------------------------

    def current(self) -> bytes | None:
        """The status, at most `FASTEST_S` old; None: the event loop does not answer."""
        answer: Future[bytes] = Future()
        if not self._from_a_thread(lambda: self._ask(answer)):
            return None
        try:
            return answer.result(ANSWER_S)
        except TimeoutError:
            answer.cancel()
            return None

    def responds(self) -> bool:
        """Whether the event loop comes round soon; one that hangs serves nobody, though this port answers."""
        came = threading.Event()
        return self._from_a_thread(came.set) and came.wait(ALIVE_S)

    def _watched(self, _: int) -> None:
        self._from_a_thread(self._wake)

    def _from_a_thread(self, work: Callable[[], None]) -> bool:
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:  # the loop is closed: the server has ended
            return False
        return True


def _settle(answer: Future[bytes], found: bytes) -> None:
    with suppress(InvalidStateError):  # whoever asked does not wait any more
        answer.set_result(found)
