"""The operator's way into a server or a client that runs: a Unix socket (0600) in its state directory.

One JSON object a line each way. There is no admin port on the network: whoever may open the file may operate the
process. `control_socket` answers; `ask`, `watch` and `moment` are what commands ask with.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from roughfed.errors import ConfigError, RoughfedError, Unreachable
from roughfed.lock import wait_until_free
from roughfed.transport.names import SOCKET

log = logging.getLogger(__name__)

MAX_REQUEST = 64 * 1024
ANSWER_S = 20.0
MOMENT_S = 600.0
"""The answer to a backup takes as long as the copy of a large journal."""

Request = Mapping[str, Any]
Operations = Mapping[str, Callable[[Request], Awaitable[dict[str, Any]]]]
Stream = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
NO_STREAMS: Mapping[str, Stream] = MappingProxyType({})


class NotRunning(ConfigError):
    """Nobody answers on this directory."""

    reason = "not-running"
    exit_code = Unreachable.exit_code


class Refused(RoughfedError):
    """The answer was an error."""

    def __init__(self, message: str, *, reason: str, cure: str = "", exit_code: int = 1) -> None:
        """All as the other end gave them."""
        self.reason, self.cure, self.exit_code = reason, cure, exit_code
        super().__init__(message)


@asynccontextmanager
async def control_socket(
    folder: Path, operations: Operations, streams: Mapping[str, Stream] = NO_STREAMS
) -> AsyncGenerator[None]:
    """Answer `{"op": NAME, ...}` while the block runs; the caller holds the lock of the directory.

    Args:
        folder: the state directory.
        operations: by name.
        streams: by name, those that have a connection to themselves and end with it.

    Raises:
        ConfigError: the path is too long for a socket (108 bytes), or the file system has none.
    """
    path, connections = folder / SOCKET, set[asyncio.Task[Any]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            connections.add(task)
            task.add_done_callback(connections.discard)
        try:
            await _serve(operations, streams, reader, writer)
        except (ValueError, ConnectionError, AttributeError) as error:
            log.debug("the operator's connection ended: %s", error)
        except asyncio.CancelledError:
            return  # the process ends with an operator still there; asyncio would print a trace for it
        finally:
            writer.close()

    try:
        path.unlink(missing_ok=True)  # left by a crash
        server = await asyncio.start_unix_server(serve, path, limit=MAX_REQUEST)
    except OSError as error:
        raise ConfigError(f"cannot open {path}: {error.strerror or error}", cure="choose a shorter --dir") from error
    try:
        path.chmod(0o600)
        yield
    finally:
        server.close()
        for task in connections:  # what they look at is about to be closed
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        path.unlink(missing_ok=True)


async def _serve(
    operations: Operations,
    streams: Mapping[str, Stream],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    while line := await reader.readline():
        request = json.loads(line)
        if (stream := streams.get(str(request.get("op")))) is None:
            await send(writer, await answer(operations, request))
            continue
        try:
            await stream(reader, writer)
        except RoughfedError as error:
            await send(writer, _refusal(error))
        return


async def send(writer: asyncio.StreamWriter, told: Mapping[str, Any]) -> None:
    """One line."""
    writer.write(json.dumps(told).encode() + b"\n")
    await writer.drain()


async def answer(operations: Operations, request: Request) -> dict[str, Any]:
    """What an operation says, or why it refuses."""
    name = str(request.get("op"))
    if (operation := operations.get(name)) is None:
        known = {"reason": "operation", "exit_code": 2, "operations": sorted(operations)}
        return {"error": f"there is no operation {name[:40]!r} here", **known}
    try:
        return await operation(request)
    except RoughfedError as error:
        return _refusal(error)


def _refusal(error: RoughfedError) -> dict[str, Any]:
    told = {"error": str(error), "reason": error.reason, "exit_code": error.exit_code}
    return told | {"cure": getattr(error, "cure", "")}


def is_running(folder: Path) -> bool:
    """Whether somebody answers on the directory of a server or a client."""
    try:
        with _connected(folder):
            return True
    except NotRunning:
        return False


def ask(folder: Path, op: str, **arguments: object) -> dict[str, Any]:
    """One question, one answer.

    Args:
        folder: `--dir` of the server or the client.
        op: its name.
        **arguments: of the operation.

    Raises:
        NotRunning: nobody answers there.
        Refused: the answer is no.
    """
    with _asked(folder, {"op": op, **arguments}) as stream:
        return _told(folder, stream.readline())


def watch(folder: Path) -> Iterator[dict[str, Any]]:
    """The server's status at every change, until it ends.

    Raises:
        NotRunning: nobody answers there.
    """
    with _asked(folder, {"op": "watch"}) as stream:
        yield _told(folder, stream.readline())
        while (line := stream.readline()).endswith("\n"):  # a part of one: the server was killed as it wrote
            yield _told(folder, line)


@contextmanager
def moment(folder: Path) -> Generator[dict[str, Any]]:
    """What a running server holds still for a backup ("about", "files"), for as long as the block runs.

    Raises:
        NotRunning: nobody answers there.
        Refused: the server says no.
    """
    with _asked(folder, {"op": "backup"}, patience_s=MOMENT_S) as stream:
        yield _told(folder, stream.readline())


def wait_until_gone(folder: Path) -> None:
    """Return when the server that runs here has let go of the directory, or at once if none does."""
    with suppress(NotRunning):
        for _ in watch(folder):
            pass
    wait_until_free(folder / "state")


@contextmanager
def _asked(folder: Path, request: Request, *, patience_s: float = ANSWER_S) -> Generator[TextIO]:
    with _connected(folder, patience_s) as connection, connection.makefile(encoding="utf-8") as stream:
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")  # not through the file, which would try again
            yield stream
        except (ConnectionError, TimeoutError):
            raise _went_away(folder) from None


@contextmanager
def _connected(folder: Path, patience_s: float = ANSWER_S) -> Generator[socket.socket]:
    path = folder / "state" / SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience_s)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise _not_running(folder) from None
        except OSError as error:  # not ours to open, or a path too long for a socket
            cause = f"cannot reach the server: {error.strerror or error}"
            cure = "be the user that started the server, or choose a shorter --dir"
            raise ConfigError(cause, file=str(path), cure=cure) from None
        yield connection


def _not_running(folder: Path) -> NotRunning:
    cause, cure = "no server runs on this directory", "start it: roughfed server"
    if not (folder / "fed.toml").exists():
        cause, cure = "this is no directory of a server", "name it with --dir, or make one: roughfed init"
    return NotRunning(cause, file=str(folder.absolute()), cure=cure)


def _went_away(folder: Path) -> NotRunning:
    return NotRunning("the server went away before it answered", file=str(folder))


def _told(folder: Path, line: str) -> dict[str, Any]:
    if not line.endswith("\n"):
        raise _went_away(folder)
    told: dict[str, Any] = json.loads(line)
    if "error" in told:
        reason, cure = str(told.get("reason", "refused")), str(told.get("cure", ""))
        raise Refused(str(told["error"]), reason=reason, cure=cure, exit_code=int(told.get("exit_code", 1)))
    return told
