"""A line that breaks in the middle of a download, between a real server and a real agent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from .federation import PATIENCE_S, Cluster, value, write_toml
from .peer import enrol

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

MODEL_BYTES = 8_000_000
CUT_AT = 3_500_000
KEPT = 2 << 20  # bytes of the model that the client has when the line breaks


class Line:
    """A TCP line to an address; the first connection is cut after so many bytes towards its caller.

    It is cut when `arrived` says so: a line that breaks takes what is still under way with it.
    """

    def __init__(self, address: str, *, cut_at: int, arrived: Callable[[], bool]) -> None:
        self._host, _, port = address.rpartition(":")
        self._port, self._cut_at, self._arrived = int(port), cut_at, arrived
        self.moved: list[int] = []
        """Bytes towards the caller, connection by connection."""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="line")

    def __enter__(self) -> Line:
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE_S)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.moved)
        self.moved.append(0)
        back, forth = await asyncio.open_connection(self._host, self._port)
        there = asyncio.create_task(self._pump(reader, forth, None))
        here = asyncio.create_task(self._pump(back, writer, number))
        await asyncio.wait({there, here}, return_when=asyncio.FIRST_COMPLETED)
        for task in (there, here):
            task.cancel()
        await asyncio.gather(there, here, return_exceptions=True)
        for end in (forth, writer):
            end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int | None) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
            if number is not None:
                self.moved[number] += len(data)
                if number == 0 and self.moved[0] >= self._cut_at and await self._has_arrived():
                    return

    async def _has_arrived(self) -> bool:
        async with asyncio.timeout(PATIENCE_S):
            while not self._arrived():  # noqa: ASYNC110 a file of another process gives no event
                await asyncio.sleep(0.01)
        return True


def test_a_download_over_a_line_that_broke_goes_on_where_it_ended(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=1, rounds=2, params=MODEL_BYTES // 4) as cluster:
        server = cluster.start_server()
        server.ready()
        enrol(cluster, "c0")
        models = cluster.client_folder("c0") / "state" / "models"

        def arrived() -> bool:  # three chunks of 1 MiB fit into what came before the cut
            return any(part.stat().st_size > KEPT for part in models.glob("*.part"))

        with Line(cluster.address, cut_at=CUT_AT, arrived=arrived) as line, cluster.watch() as watch:
            settings = {"client": {"server": line.address}, "http": {"enabled": False}}
            write_toml(cluster.client_folder("c0") / "client.toml", cluster.agreed(settings))
            client = cluster.start_client("c0", pace_s=1.0)
            watch.until(lambda s: s["model_version"] == 1)
            page = cluster.page("/metrics")
            assert [server.wait(), client.wait()] == [0, 0]

        assert client.find("download interrupted")
        assert value(page, "roughfed_transfer_resumes_total") == 1
        assert len(line.moved) == 2
        assert CUT_AT <= line.moved[0] < MODEL_BYTES
        assert line.moved[1] < 2 * MODEL_BYTES - (1 << 20)  # of both rounds: what had arrived did not come again
        assert cluster.model_digests() == cluster.expected_digests()
