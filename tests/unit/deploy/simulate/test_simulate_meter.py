"""Processor time of a simulation's server and clients is told apart, whoever's task or thread it is spent in."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from roughfed.deploy.simulate.meter import CLIENTS, SERVER, CpuMeter

PART_S = 0.05


def busy(seconds: float = PART_S) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def steps() -> str:
    for _ in range(5):
        busy(PART_S / 5)
        await asyncio.sleep(0)
    return "done"


def parts(meter: CpuMeter) -> tuple[int, int]:
    """Of the server and of the clients, in parts."""
    return round(meter.seconds(SERVER) / PART_S), round(meter.seconds(CLIENTS) / PART_S)


def test_tasks_count_for_the_side_that_started_them_and_steps_within_for_their_own() -> None:
    async def client(meter: CpuMeter) -> str:
        own = asyncio.create_task(steps())
        assert await meter.of(SERVER, steps()) == "done"
        return await own

    async def play(meter: CpuMeter) -> tuple[str, str]:
        meter.install()
        busy()  # nobody's
        server = asyncio.create_task(meter.of(SERVER, steps()))
        return await asyncio.create_task(meter.of(CLIENTS, client(meter))), await server

    meter = CpuMeter()
    assert asyncio.run(play(meter)) == ("done", "done")
    assert parts(meter) == (2, 1)


def test_threads_count_for_who_hands_the_work_over_and_the_servers_own_for_it() -> None:
    stop = threading.Event()

    def journal() -> None:
        busy()
        stop.wait()

    async def play(meter: CpuMeter) -> None:
        meter.install()
        own = threading.Thread(target=journal)
        own.start()
        meter.own_threads()
        await meter.of(CLIENTS, asyncio.create_task(meter.of(CLIENTS, asyncio.to_thread(busy, 2 * PART_S))))
        await meter.of(SERVER, asyncio.create_task(meter.of(SERVER, asyncio.to_thread(busy))))
        assert parts(meter) == (2, 2)
        stop.set()
        own.join()

    asyncio.run(play(CpuMeter()))


def test_errors_and_the_end_of_a_stream_pass_through() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def two() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def play(meter: CpuMeter) -> None:
        meter.install()
        with pytest.raises(ValueError, match="no"):
            await meter.of(SERVER, fails())
        stream = two()
        assert [await meter.of(SERVER, anext(stream)) for _ in range(2)] == [1, 2]
        with pytest.raises(StopAsyncIteration):
            await meter.of(SERVER, anext(stream))
        waiting = asyncio.create_task(meter.of(CLIENTS, asyncio.sleep(60)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()

    asyncio.run(play(CpuMeter()))
