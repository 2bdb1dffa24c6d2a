"""A TCP proxy that treats connections as `faults.py` says. One event loop, bounded memory, any protocol."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from roughfed.deploy.chaos.faults import ConnectionFate, Direction, Faults, Lane
from roughfed.errors import ConfigError

READ = 64 * 1024
HELD = 4 << 20
"""Bytes of one direction of a connection that are on their way at most: what a long line holds."""
QUEUED_S, TURN_S = 0.2, 0.01
"""What waits on a line with a rate, in seconds of it: as much as a router holds, no more. Who sends is held back, as by
TCP, and connections take turns of so many seconds."""
CONNECT_S = 10.0

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes a close a RST."""


@dataclass(slots=True)
class Counts:
    """What happened so far.

    Attributes:
        bytes: passed, by direction: from those who connect, and to them.
    """

    connections: int = 0
    refused: int = 0
    cut: int = 0
    half_open: int = 0
    flipped_bits: int = 0
    unreachable: int = 0
    bytes: list[int] = field(default_factory=lambda: [0, 0])


class Proxy:
    """Listens, and passes on to one target."""

    def __init__(
        self,
        target: tuple[str, int],
        faults: Faults,
        *,
        seed: int = 0,
        on_event: Callable[[str, int], None] = lambda _event, _connection: None,
    ) -> None:
        """Nothing is open yet.

        Args:
            target: host and port.
            faults: of the line.
            seed: of its decisions.
            on_event: told ("opened" | "refused" | "cut" | "half-open" | "closed" | "unreachable", connection's number).
        """
        self.counts = Counts()
        self._target, self._faults, self._seed, self._on_event = target, faults, seed, on_event
        self._free_at = [0.0, 0.0]
        self._turns = [asyncio.Lock(), asyncio.Lock()]
        self._piece = max(1, min(READ, int(faults.bytes_per_s * TURN_S) or READ))
        self._open: set[_Connection] = set()
        self._through = asyncio.Event()
        self._through.set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port.

        Raises:
            ConfigError: the address cannot be bound.
        """
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=READ)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                key="--listen",
                cure="choose another port, or 0 for any free one",
            ) from error
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everything and let go of the port."""
        if self._server is not None:
            self._server.close()
        self.cut_all()
        for connection in [*self._open]:
            await connection.over.wait()

    def cut_all(self) -> int:
        """Cut every connection that is open now (RST); returns how many."""
        for connection in (now := [*self._open]):
            connection.cut()
        return len(now)

    def blackhole(self, on: bool) -> None:
        """Let nothing pass, without telling either end, or let it pass again, late but whole."""
        (self._through.clear if on else self._through.set)()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.counts.connections
        self.counts.connections += 1
        fate = ConnectionFate(self._faults, seed=self._seed, connection=number)
        if fate.refused:
            self.counts.refused += 1
            self._on_event("refused", number)
            _reset(writer)
            return
        try:
            async with asyncio.timeout(CONNECT_S):
                onward = await asyncio.open_connection(*self._target, limit=READ)
        except (OSError, TimeoutError):
            self.counts.unreachable += 1
            self._on_event("unreachable", number)
            _reset(writer)
            return
        self._on_event("opened", number)
        connection = _Connection(fate, (writer, onward[1]))
        self._open.add(connection)
        try:
            async with asyncio.TaskGroup() as group:
                for direction, (source, sink) in enumerate(((reader, onward[1]), (onward[0], writer))):
                    connection.tasks.append(group.create_task(self._pass(number, direction, source, sink, connection)))
        finally:
            self._open.discard(connection)
            connection.over.set()
            for each in connection.ends:
                each.close()
            self._on_event("closed", number)

    async def _pass(
        self,
        number: int,
        direction: int,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        connection: _Connection,
    ) -> None:
        """Everything of one direction: read, decide, hold for its time, write."""
        side: Direction = 1 if direction else 0
        lane = Lane(self._faults, seed=self._seed, connection=number, direction=side)
        line = _Line(sink, self._through)
        writing = asyncio.create_task(line.write_all())
        try:
            while data := await source.read(self._piece):
                data = data[: int(min(connection.fate.left(connection.passed), len(data)))]
                if data:
                    await self._forward(data, side, lane, line, connection)
                if not connection.fate.left(connection.passed):
                    await self._end(number, connection, line, writing)
                    return
            await line.put(0.0, b"")
            await writing
        except (ConnectionError, asyncio.CancelledError):
            connection.cut()
        finally:
            writing.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await writing

    async def _forward(self, data: bytes, side: Direction, lane: Lane, line: _Line, connection: _Connection) -> None:
        async with self._turns[side]:
            await asyncio.sleep(self._free_at[side] - QUEUED_S - asyncio.get_running_loop().time())
            arrives = self._arrives(side, len(data))
        connection.passed += len(data)
        self.counts.bytes[side] += len(data)
        arriving, flipped = lane.passes(data)
        self.counts.flipped_bits += flipped
        await line.put(arrives + lane.delay(), arriving)

    async def _end(self, number: int, connection: _Connection, line: _Line, writing: asyncio.Task[None]) -> None:
        """Its last bytes have come: cut it, or leave both ends hanging."""
        if connection.fate.end == "cut":
            await line.put(0.0, b"")
            with suppress(ConnectionError):
                await writing
            self.counts.cut += 1
            self._on_event("cut", number)
            connection.cut()
            return
        if not connection.silent:  # the other direction comes here, too
            connection.silent = True
            self.counts.half_open += 1
            self._on_event("half-open", number)
        await connection.over.wait()

    def _arrives(self, direction: Direction, size: int) -> float:
        """When the last of so many bytes has gone into the line (the loop's seconds)."""
        at = asyncio.get_running_loop().time()
        if self._faults.bytes_per_s:
            at = max(at, self._free_at[direction]) + size / self._faults.bytes_per_s
            self._free_at[direction] = at
        return at


class _Connection:
    """Two ends, and what is to become of them."""

    def __init__(self, fate: ConnectionFate, ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self.fate, self.ends = fate, ends
        self.passed, self.silent = 0, False
        self.over = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    def cut(self) -> None:
        """RST to both ends."""
        for writer in self.ends:
            _reset(writer)
        for task in self.tasks:
            if task is not asyncio.current_task():
                task.cancel()


class _Line:
    """Bytes on their way to one end, in order, each with the time at which it arrives."""

    def __init__(self, sink: asyncio.StreamWriter, through: asyncio.Event) -> None:
        self._sink, self._through = sink, through
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._held = 0
        self._room = asyncio.Event()

    async def put(self, at: float, data: bytes) -> None:
        """Hand over bytes; waits while too many are on their way. Empty: the end of the stream."""
        while self._held >= HELD:
            self._room.clear()
            await self._room.wait()
        self._held += len(data)
        self._queue.put_nowait((at, data))

    async def write_all(self) -> None:
        """Deliver until the end of the stream."""
        loop = asyncio.get_running_loop()
        while True:
            at, data = await self._queue.get()
            if not data:
                with suppress(OSError):  # the other end may be gone already
                    self._sink.write_eof()
                return
            await asyncio.sleep(max(0.0, at - loop.time()))
            await self._through.wait()
            self._sink.write(data)
            await self._sink.drain()
            self._held -= len(data)
            self._room.set()


def _reset(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
