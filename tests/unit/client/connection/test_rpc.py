"""What the end of a call means: of a channel that was closed under it, or of the task that made it."""

import asyncio

import grpc
import grpc.aio
import pytest

from roughfed.client.connection.rpc import translated
from roughfed.errors import Unreachable


async def scenario(*, close: bool) -> None:
    """A call that is never answered, and ends because its channel is closed, or because its task is cancelled."""
    came = asyncio.Event()

    async def never(_request: bytes, _context: object) -> bytes:
        came.set()
        await asyncio.Event().wait()
        return b""

    server = grpc.aio.server()
    handlers = {"Ask": grpc.unary_unary_rpc_method_handler(never)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    async def ask() -> None:
        with translated():
            await channel.unary_unary("/test.Test/Ask")(b"")

    asking = asyncio.create_task(ask())
    try:
        await asyncio.wait_for(came.wait(), 10)
        if close:
            await channel.close()
        else:
            asking.cancel()
        await asyncio.wait_for(asking, 10)
    finally:
        await channel.close()
        await server.stop(None)


def test_a_channel_that_is_replaced_interrupts_a_transfer_and_not_its_job() -> None:
    with pytest.raises(Unreachable, match="the connection was closed"):
        asyncio.run(scenario(close=True))


def test_a_job_that_is_cancelled_ends() -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scenario(close=False))
