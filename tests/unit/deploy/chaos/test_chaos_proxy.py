"""The proxy on loopback: what passes is whole and in order, and each fault is what the peers see."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import pytest

from roughfed.deploy.chaos.faults import Faults
from roughfed.deploy.chaos.proxy import HELD, QUEUED_S, Proxy
from roughfed.deploy.chaos.threaded_proxy import bad_line
from roughfed.errors import ConfigError

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def line(faults: Faults, *, seed: int = 0) -> AsyncIterator[tuple[Proxy, Callable[[], Awaitable[Streams]]]]:
    """A proxy before a server that sends everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[:2], faults, seed=seed)
    port = await proxy.start()
    opened: list[Streams] = []

    async def connect() -> Streams:
        opened.append(await asyncio.open_connection("127.0.0.1", port))
        return opened[-1]

    try:
        yield proxy, connect
    finally:
        await proxy.stop()
        for _, writer in opened:
            writer.close()
        server.close()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_line_without_faults_passes_everything_both_ways_and_its_end() -> None:
    async def scenario() -> None:
        data = bytes(range(256)) * 4096 * 8  # 8 MiB: more than is held on the way
        assert len(data) > HELD
        async with line(Faults()) as (proxy, connect):
            reader, writer = await connect()

            async def send() -> None:
                writer.write(data)
                await writer.drain()
                writer.write_eof()

            sending = asyncio.create_task(send())
            assert await reader.read(-1) == data
            await sending
            assert proxy.counts.bytes == [len(data), len(data)]

    run(scenario)


def test_latency_and_rate_cost_what_they_say() -> None:
    async def scenario() -> None:
        async with line(Faults(latency_s=0.1, bytes_per_s=1_000_000)) as (_, connect):
            reader, writer = await connect()
            began = time.monotonic()
            writer.write(b"x")
            await reader.readexactly(1)
            assert 0.2 <= time.monotonic() - began < 1.0

            began = time.monotonic()
            writer.write(bytes(300_000))
            await reader.readexactly(300_000)
            assert (
                0.5 <= time.monotonic() - began < 3.0
            )  # 0.3 s there, some of it back meanwhile, and twice the latency

    run(scenario)


def test_a_cut_is_a_reset_after_exactly_the_bytes_before_it() -> None:
    async def scenario() -> None:
        async with line(Faults(cut_after=1000)) as (proxy, connect):
            reader, writer = await connect()
            writer.write(bytes(600))
            assert len(await reader.readexactly(400)) == 400  # there 600, back 400
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            assert (proxy.counts.cut, sum(proxy.counts.bytes)) == (1, 1000)

    run(scenario)


def test_a_half_open_connection_says_nothing_and_stays() -> None:
    async def scenario() -> None:
        async with line(Faults(half_open_share=1.0, cut_within=1)) as (proxy, connect):
            reader, writer = await connect()
            writer.write(b"hello")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.3)
            assert not writer.is_closing()
            assert (proxy.counts.half_open, proxy.counts.cut) == (1, 0)

    run(scenario)


def test_a_refused_connection_and_a_server_that_is_not_there_are_resets() -> None:
    async def scenario() -> None:
        async with line(Faults(refuse_share=1.0)) as (proxy, connect):
            reader, _ = await connect()
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            assert proxy.counts.refused == 1
        nowhere = Proxy(("127.0.0.1", 1), Faults())
        reader, writer = await asyncio.open_connection("127.0.0.1", await nowhere.start())
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        await nowhere.stop()
        assert nowhere.counts.unreachable == 1

    run(scenario)


def test_darkness_holds_everything_back_and_loses_nothing() -> None:
    async def scenario() -> None:
        async with line(Faults()) as (proxy, connect):
            reader, writer = await connect()
            proxy.blackhole(True)
            writer.write(b"late")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.2)
            proxy.blackhole(False)
            assert await reader.readexactly(4) == b"late"

    run(scenario)


def test_flipped_bits_arrive_flipped() -> None:
    async def scenario() -> None:
        async with line(Faults(corrupt_every=500), seed=3) as (proxy, connect):
            reader, writer = await connect()
            writer.write(bytes(10_000))
            back = await reader.readexactly(10_000)
            assert sum(byte.bit_count() for byte in back) > 0
            assert proxy.counts.flipped_bits == pytest.approx(40, abs=25)

    run(scenario)


def test_cutting_all_ends_every_connection_and_new_ones_pass() -> None:
    async def scenario() -> None:
        async with line(Faults()) as (proxy, connect):
            first = [await connect() for _ in range(3)]
            for reader, writer in first:
                writer.write(b"x")
                await reader.readexactly(1)
            assert proxy.cut_all() == 3
            for reader, _ in first:
                with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                    await reader.readexactly(1)
            reader, writer = await connect()
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"

    run(scenario)


def test_a_line_beside_a_program_begins_and_ends_with_its_block() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        with bad_line(server.getsockname(), Faults(cut_after=6)) as (port, counts):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as near, closing(server.accept()[0]) as far:
                near.sendall(b"12345")
                assert far.recv(5) == b"12345"
                near.sendall(b"6")
                with pytest.raises(ConnectionResetError):
                    near.recv(1)
            assert (counts.connections, counts.cut, counts.bytes) == (1, 1, [6, 0])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_line_for_which_no_port_is_free_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(_: Proxy) -> int:
        raise ConfigError("no port is free")

    monkeypatch.setattr(Proxy, "start", refused)
    with pytest.raises(ConfigError, match="no port is free"), bad_line(("127.0.0.1", 1), Faults()):
        pytest.fail("the block was entered")


def test_connections_share_a_line_in_short_turns() -> None:
    async def scenario() -> None:
        async with line(Faults(bytes_per_s=1_000_000)) as (_, connect):
            (_, busy), (reader, writer) = await connect(), await connect()
            busy.write(bytes(4 << 20))  # seconds of the line
            began = time.monotonic()
            for _ in range(3):
                writer.write(b"x")
                await reader.readexactly(1)
            assert time.monotonic() - began < 3 * 2 * (QUEUED_S + 0.2)  # each way what waits there already, no more

    run(scenario)
