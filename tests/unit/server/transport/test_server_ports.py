"""A port closes when the server ends, and never keeps the process."""

import asyncio
import logging
from typing import cast

import grpc.aio
import pytest

from roughfed.server.transport import ports


class Hanging:
    """A gRPC server that never says that it has stopped."""

    async def stop(self, grace: float) -> None:
        await asyncio.Event().wait()


def test_a_port_that_grpc_does_not_close_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left: list[object] = []
    monkeypatch.setattr(ports, "_left", left)
    server = Hanging()
    with caplog.at_level(logging.WARNING):
        asyncio.run(ports.close_port(cast("grpc.aio.Server", server), "127.0.0.1:1", within_s=0.01))
    assert left == [server]
    assert "did not close 127.0.0.1:1" in caplog.text


def test_a_port_that_closes_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        server = grpc.aio.server()
        await server.start()
        await ports.close_port(server, "127.0.0.1:1")

    asyncio.run(play())
    assert caplog.text == ""
