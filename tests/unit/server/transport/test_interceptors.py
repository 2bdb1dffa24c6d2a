"""The servicer boundary: how many calls one client may have open."""

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from roughfed.errors import TooLarge
from roughfed.server.metrics import ServerMetrics
from roughfed.server.transport.interceptors import MAX_CALLS, Boundary


class Call:
    """A gRPC context that is done when the test says so."""

    def __init__(self) -> None:
        self.callbacks: list[Any] = []

    def add_done_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def done(self) -> None:
        for callback in self.callbacks:
            callback(self)


async def admit(_: str, __: bytes) -> None:
    """Everybody."""


def test_how_calls_ended_is_kept_for_the_alerts() -> None:
    class Refusing(Call):
        def set_code(self, _: object) -> None: ...
        def set_details(self, _: object) -> None: ...
        def set_trailing_metadata(self, _: object) -> None: ...

    async def scenario() -> None:
        boundary = Boundary("lab", admit, ServerMetrics())
        async with boundary._call("GetModel", Refusing()):  # pyright: ignore[reportArgumentType]
            pass
        async with boundary._call("GetModel", Refusing()):  # pyright: ignore[reportArgumentType]
            raise ZeroDivisionError
        assert boundary.recent.all() == ["OK", "INTERNAL"]

    asyncio.run(scenario())


def test_calls_count_until_grpc_is_done_with_them() -> None:
    async def scenario() -> None:
        boundary = Boundary("lab", admit, ServerMetrics())
        calls = [Call() for _ in range(MAX_CALLS)]
        with ExitStack() as stack:
            for call in calls:
                stack.enter_context(boundary._running("greedy", call))
            with pytest.raises(TooLarge, match="at most"), boundary._running("greedy", Call()):
                raise AssertionError("it was let in")
            with boundary._running("modest", Call()):
                pass  # others are not affected
        with pytest.raises(TooLarge), boundary._running("greedy", Call()):
            raise AssertionError("handlers have ended, but gRPC still holds the calls")
        calls[0].done()
        with boundary._running("greedy", Call()):
            pass

    asyncio.run(scenario())
