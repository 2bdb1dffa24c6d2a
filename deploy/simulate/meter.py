"""Processor time of the server and of its clients, which in a simulation share one process.

Every step of a task counts for the side that runs in it: a task is of the side that started it, and where a client
calls the server's service, the steps inside count for the server. Work in threads counts for whoever handed it over.
What the event loop itself does between the steps is nobody's.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, TypeVar, cast

from roughfed.server.context.server import ServerContext
from roughfed.server.transport.rpc import Context, FederationService

Side = Literal["server", "clients"]
SERVER: Side = "server"
CLIENTS: Side = "clients"

T = TypeVar("T")

POOL_THREADS = 8
WORK = "work"
"""Beginning of the names of the threads in the server's own executor (`roughfed.server.app`)."""


class CpuMeter:
    """Counts, from `install` on, in the thread of the event loop that runs then."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self._spent: dict[Side, float] = {SERVER: 0.0, CLIENTS: 0.0}
        self._side: Side | None = None
        self._since = 0.0
        self._started = 0.0
        self._ends: dict[int, float] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._before = {each.ident for each in threading.enumerate()}

    def install(self) -> None:
        """Count the tasks and the default executor of the running loop."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(self._task)
        loop.set_default_executor(CountedExecutor(self, POOL_THREADS, thread_name_prefix="any"))

    def of(self, side: Side, awaited: Awaitable[T]) -> MeteredSteps[T]:
        """The same, counted for a side."""
        return MeteredSteps(self, side, awaited)

    def own_threads(self) -> None:
        """All threads that came since the meter was made are the server's (its journal's, for example)."""
        self._threads = [each for each in threading.enumerate() if each.ident not in self._before]
        self._started = self.seconds(SERVER)

    def run(self, side: Side, work: Callable[..., T], *arguments: Any) -> T:
        """Do one piece of work of a side, in the loop's thread; pieces may lie within one another."""
        if (before := self._side) is side:
            return work(*arguments)
        self._switch()
        self._side = side
        try:
            return work(*arguments)
        finally:
            self._switch()
            self._side = before

    def _switch(self) -> None:
        """Book the time since the last switch."""
        now = time.thread_time()
        if self._side is not None:
            with self._lock:
                self._spent[self._side] += now - self._since
        self._since = now

    def submitted(self, work: Callable[[], T]) -> Callable[[], T]:
        """What a thread does for the side that runs now."""
        side = self._side

        def counted() -> T:
            began = time.thread_time()
            try:
                return work()
            finally:
                if side is not None:
                    with self._lock:
                        self._spent[side] += time.thread_time() - began

        return counted

    async def follow(self, ctx: ServerContext) -> None:
        """Note what the server had spent at the end of each round; until it is cancelled."""
        event = ctx.state.watch()
        try:
            while True:
                event.clear()
                row = None if ctx.state.round is None else ctx.state.round.row
                if row is not None and row.outcome is not None and row.round not in self._ends:
                    self._ends[row.round] = self.seconds(SERVER)
                await event.wait()
        finally:
            ctx.state.unwatch(event)

    def of_round(self, number: int) -> float:
        """Processor seconds of the server from the end of the round before, or its own start, to that of a round."""
        return self._ends.get(number, self.seconds(SERVER)) - self._ends.get(number - 1, self._started)

    def seconds(self, side: Side) -> float:
        """Processor seconds of a side so far."""
        with self._lock:
            spent = self._spent[side]
        return spent + (sum(map(_thread_seconds, self._own())) if side == SERVER else 0.0)

    def _own(self) -> Iterable[threading.Thread]:
        return [each for each in threading.enumerate() if each in self._threads or each.name.startswith(f"{WORK}_")]

    def _task(
        self, loop: asyncio.AbstractEventLoop, work: Any, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        if self._side is not None and not isinstance(work, MeteredSteps):
            work = MeteredSteps[Any](self, self._side, work)
        return asyncio.Task(cast("Coroutine[Any, Any, Any]", work), loop=loop, context=context)


class MeteredSteps(Coroutine[Any, Any, T]):
    """A coroutine, or what else can be awaited, whose steps are counted for a side."""

    def __init__(self, meter: CpuMeter, side: Side, awaited: Awaitable[T]) -> None:
        """Nothing of it runs yet."""
        self._meter = meter
        self._side: Side = side
        self._steps: Any = awaited if hasattr(awaited, "send") else awaited.__await__()

    def send(self, value: Any) -> Any:
        """As of a coroutine."""
        return self._meter.run(self._side, self._steps.send, value)

    def throw(self, *error: Any) -> Any:
        """As of a coroutine."""
        return self._meter.run(self._side, self._steps.throw, *error)

    def close(self) -> None:
        """As of a coroutine."""
        self._meter.run(self._side, self._steps.close)

    def __await__(self) -> Generator[Any, Any, T]:
        """Within another coroutine, whose own steps go on being counted for its own side."""
        return self  # pyright: ignore[reportReturnType]

    def __iter__(self) -> MeteredSteps[T]:
        """As of a generator."""
        return self

    def __next__(self) -> Any:
        """As of a generator."""
        return self.send(None)


class CountedExecutor(ThreadPoolExecutor):
    """Threads whose work counts for the side that hands it over."""

    def __init__(self, meter: CpuMeter, threads: int, *, thread_name_prefix: str) -> None:
        """Start nothing yet."""
        super().__init__(threads, thread_name_prefix=thread_name_prefix)
        self._meter = meter

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As of every executor."""
        return super().submit(self._meter.submitted(lambda: fn(*args, **kwargs)))


class CountedService(FederationService):
    """The server's service, as its clients call it: what it does is counted for the server."""

    def __init__(self, meter: CpuMeter, *arguments: Any) -> None:
        """As of `FederationService`."""
        super().__init__(*arguments)
        self._meter = meter

    async def session(self, requests: AsyncIterator[bytes], context: Context) -> AsyncGenerator[bytes]:
        """As of `FederationService`."""
        async for message in self._counted(SERVER, super().session(self._counted(CLIENTS, requests), context)):
            yield message

    async def get_model(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """As of `FederationService`."""
        async for message in self._counted(SERVER, super().get_model(request, context)):
            yield message

    async def put_update(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """As of `FederationService`."""
        return await self._meter.of(SERVER, super().put_update(self._counted(CLIENTS, requests), context))

    async def update_status(self, request: bytes, context: Context) -> bytes:
        """As of `FederationService`."""
        return await self._meter.of(SERVER, super().update_status(request, context))

    async def _counted(self, side: Side, stream: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                try:
                    message: bytes = await self._meter.of(side, stream.__anext__())
                except StopAsyncIteration:
                    return
                yield message
        finally:
            await self._meter.of(side, stream.aclose())


def _thread_seconds(thread: threading.Thread) -> float:
    if thread.ident is None or not thread.is_alive():
        return 0.0
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
