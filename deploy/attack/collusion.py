"""Where colluders on one machine show one another what they trained: a Unix socket, hosted by whoever comes first.

    to the host    occasion, name and delta
    from the host  how many, then occasion, name and delta of each: the same ones to everybody

The host answers when all are there, or when those who came first have waited long enough; whoever comes later gets what
the others got. When it dies the next one hosts, and everybody sends again. Nobody polls: who hosts is decided under a
file lock that is held for as long as it takes to connect or to bind.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import struct
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from roughfed.errors import ConfigError
from roughfed.files import disk_errors
from roughfed.params import Flat

log = logging.getLogger(__name__)

PATIENCE_S = 30.0
LONGEST_PATH = 100  # bytes that fit into the address of a Unix socket, with some to spare
BACKLOG = 1024  # more than there are colluders: nobody waits for the host while it waits for the lock
KEPT = 2  # occasions
FRAME = struct.Struct("<IIQ")  # bytes of the occasion, of the name, of the delta
COUNT = struct.Struct("<I")

Deltas = Mapping[str, Flat]


class Meeting:
    """One colluder's way to the others."""

    def __init__(self, place: Path, name: str, *, of: int, patience_s: float = PATIENCE_S) -> None:
        """Nothing is opened yet.

        Args:
            place: the socket; beside it lies its lock.
            name: this colluder's, unlike that of any other.
            of: how many colluders there are.
            patience_s: how long the first who comes waits for the others.

        Raises:
            ConfigError: no socket can be there.
        """
        if not place.parent.is_dir():
            raise ConfigError(f"{place.parent} is no folder", key="--colluders", cure="make it")
        if place.exists() and not place.is_socket():  # what a dead host left is deleted; this is somebody's
            raise ConfigError(f"{place} is no socket", key="--colluders", cure="name a file that is not there yet")
        if len(os.fsencode(place)) > LONGEST_PATH:
            cause = f"the path of a socket has at most {LONGEST_PATH} bytes"
            raise ConfigError(cause, key="--colluders", cure="a shorter one, such as /tmp/colluders")
        self._place, self._name, self._of, self._patience_s = place, name, of, patience_s
        self._host: Host | None = None

    async def exchange(self, occasion: str, delta: Flat) -> Deltas:
        """Show the others a delta.

        Args:
            occasion: what it is of: run and round.
            delta: float32 [D].

        Returns:
            name -> delta of everybody who came in time, by name; this colluder's own alone when nobody can be reached.

        Raises:
            StorageError: the socket cannot be made.
        """
        for _ in range(self._of):  # a try ends when the host dies, and there are no more hosts than colluders
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                return await self._ask(occasion, delta)
            log.info("%s: whoever hosted the meeting is gone", occasion)
        return {self._name: delta}

    async def close(self) -> None:
        """Host no longer."""
        if self._host is not None:
            await self._host.close()
            self._host = None

    async def _ask(self, occasion: str, delta: Flat) -> Deltas:
        link, listener = self._connect()
        if listener is not None:
            await self.close()
            self._host = await Host.start(listener, of=self._of, patience_s=self._patience_s)
        reader, writer = await asyncio.open_unix_connection(sock=link)
        try:
            _write(writer, occasion, self._name, delta)
            await writer.drain()
            (count,) = COUNT.unpack(await reader.readexactly(COUNT.size))
            shown = [await _read(reader) for _ in range(count)]
            return {name: values for _, name, values in sorted(shown, key=lambda one: one[1])}
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _connect(self) -> tuple[socket.socket, socket.socket | None]:
        """A link to the host, and, if this process is to be it, the socket on which it listens."""
        address, listener = str(self._place), None
        with disk_errors("meet the colluders"), _alone(self._place.with_name(self._place.name + ".lock")):
            link = socket.socket(socket.AF_UNIX)
            try:
                link.connect(address)
            except (FileNotFoundError, ConnectionRefusedError):
                link.close()  # what a socket does after a refusal differs between systems
                self._place.unlink(missing_ok=True)  # of a host that died
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(address)
                self._place.chmod(0o600)
                listener.listen(BACKLOG)
                link = socket.socket(socket.AF_UNIX)
                link.connect(address)
        link.setblocking(False)
        return link, listener


class Host:
    """Gathers what the colluders show, one occasion after the other."""

    def __init__(self, *, of: int, patience_s: float) -> None:
        """Use `start`."""
        self._of, self._patience_s = of, patience_s
        self._gatherings: dict[str, Gathering] = {}
        self._talking: set[asyncio.Task[object]] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    async def start(cls, listener: socket.socket, *, of: int, patience_s: float) -> Host:
        """Begin to serve on a socket that listens."""
        host = cls(of=of, patience_s=patience_s)
        host._server = await asyncio.start_unix_server(host._serve, sock=listener)
        return host

    async def close(self) -> None:
        """End every talk: whoever waits finds another host."""
        if self._server is not None:
            self._server.close()
        for task in self._talking:
            task.cancel()
        await asyncio.gather(*self._talking, return_exceptions=True)
        for gathering in self._gatherings.values():
            gathering.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            self._talking.add(task)
            task.add_done_callback(self._talking.discard)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):  # whoever died sends again, or not at all
                occasion, name, delta = await _read(reader)
                shown = await self._gathering(occasion).wait(name, delta)
                writer.write(COUNT.pack(len(shown)))
                for other, values in shown.items():
                    _write(writer, occasion, other, values)
                    await writer.drain()
        finally:
            writer.close()

    def _gathering(self, occasion: str) -> Gathering:
        if occasion not in self._gatherings:
            self._gatherings[occasion] = Gathering(self._of, self._patience_s)
            for old in list(self._gatherings)[:-KEPT]:
                self._gatherings.pop(old).close()
        return self._gatherings[occasion]


class Gathering:
    """The deltas of one occasion, until all are there or time is up; then they stay as they are."""

    def __init__(self, of: int, patience_s: float) -> None:
        """Its time begins now."""
        self._of, self._shown = of, dict[str, Flat]()
        self._closed = asyncio.Event()
        self._timer = asyncio.get_running_loop().call_later(patience_s, self._closed.set)

    async def wait(self, name: str, delta: Flat) -> Deltas:
        """Add one, if it comes in time; returns all."""
        if not self._closed.is_set():
            self._shown[name] = delta
            if len(self._shown) >= self._of:
                self.close()
        await self._closed.wait()
        return self._shown

    def close(self) -> None:
        """Nobody is waited for any more."""
        self._timer.cancel()
        self._closed.set()


@contextmanager
def _alone(lock: Path) -> Generator[None]:
    """Be the only colluder that looks for a host."""
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write(writer: asyncio.StreamWriter, occasion: str, name: str, delta: Flat) -> None:
    when, who, data = occasion.encode(), name.encode(), delta.astype("<f4", copy=False)
    writer.write(FRAME.pack(len(when), len(who), data.nbytes) + when + who)
    writer.write(memoryview(data).cast("B"))


async def _read(reader: asyncio.StreamReader) -> tuple[str, str, Flat]:
    when_bytes, who_bytes, delta_bytes = FRAME.unpack(await reader.readexactly(FRAME.size))
    occasion = (await reader.readexactly(when_bytes)).decode()
    name = (await reader.readexactly(who_bytes)).decode()
    values = np.frombuffer(await reader.readexactly(delta_bytes), dtype="<f4")  # [D]
    return occasion, name, values.astype(np.float32, copy=False)
