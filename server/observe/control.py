"""The operator's door: a Unix socket (0600) in the state directory; one JSON object a line each way.

There is no network admin port: whoever may open the file may operate the server.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from roughfed.errors import ConfigError, RoughfedError
from roughfed.server.backup.snapshot import Moment, sweep
from roughfed.server.context.server import ServerContext
from roughfed.server.observe import renewal
from roughfed.server.observe.status import Status
from roughfed.server.round.events import quarantine, release, revoke
from roughfed.transport.names import SOCKET

log = logging.getLogger(__name__)

MAX_REQUEST = 64 * 1024
QUIETEST_S = 1.0
"""`watch` sends at least once in so long, so that elapsed times move on the operator's screen."""
FASTEST_S = 0.1

Request = Mapping[str, Any]


class Control:
    """Answers requests `{"op": NAME, ...}`; "watch" is answered by a line at every change."""

    rotate: Callable[[], Awaitable[dict[str, Any]]] | None = None
    """Gets the server new keys and a new certificate at once."""

    def __init__(self, ctx: ServerContext, status: Status, stop: Callable[[], None]) -> None:
        """`stop` begins the server's drain."""
        self._ctx, self._current, self._stop = ctx, status, stop
        self._connections: set[asyncio.Task[Any]] = set()
        self._operations: dict[str, Callable[[Request], Awaitable[dict[str, Any]]]] = {
            "status": self._status,
            "pause": self._pause,
            "resume": self._resume,
            "stop": self._stop_server,
            "revoke": self._revoke,
            "quarantine": self._quarantine,
            "release": self._release,
            "rotate": self._rotate,
            "renew": self._renew,
        }

    async def serve(self, folder: Path) -> asyncio.Server:
        """Open the socket in `folder`.

        Raises:
            ConfigError: another server runs on this folder, or the path is too long for a socket.
        """
        path = folder / SOCKET
        sweep(folder)
        with suppress(OSError):
            _, writer = await asyncio.open_unix_connection(path)
            writer.close()
            raise ConfigError("a server runs on this directory already", file=str(folder), cure="roughfed stop")
        path.unlink(missing_ok=True)
        try:
            server = await asyncio.start_unix_server(self._serve_one, path, limit=MAX_REQUEST)
        except OSError as error:
            raise ConfigError(f"cannot open {path}: {error}", cure="choose a shorter --dir") from error
        path.chmod(0o600)
        return server

    async def close(self) -> None:
        """Let go of whoever still asks or watches: what they look at is about to be closed."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            while line := await reader.readline():
                request = json.loads(line)
                if request.get("op") == "watch":
                    await self._watch(writer)
                    return
                if request.get("op") == "backup":
                    await self._backup(reader, writer)
                    return
                await _send(writer, await self._answer(request))
        except (ValueError, ConnectionError, AttributeError) as error:
            log.debug("control connection ended: %s", error)
        except asyncio.CancelledError:
            return  # the loop ends with a watcher still there; asyncio would print a trace for a cancelled connection
        finally:
            writer.close()

    async def _answer(self, request: Request) -> dict[str, Any]:
        operation = self._operations.get(str(request.get("op")))
        if operation is None:
            return {"error": f"no operation {request.get('op')!r}", "operations": sorted(self._operations)}
        try:
            return await operation(request)
        except RoughfedError as error:
            told = {"error": str(error), "reason": error.reason, "exit_code": error.exit_code}
            return told | {"cure": getattr(error, "cure", "")}

    async def _watch(self, writer: asyncio.StreamWriter) -> None:
        event = self._ctx.state.watch()
        try:
            while True:
                event.clear()
                await _send(writer, self._current())
                await asyncio.sleep(FASTEST_S)  # the rate at which a person's screen is worth redrawing
                with suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), QUIETEST_S)
        finally:
            self._ctx.state.unwatch(event)

    async def _backup(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold on to this moment for as long as the other end keeps the connection; it reads the files itself."""
        try:
            moment = Moment.pin(self._ctx.store.folder)  # on the loop, like everything that deletes: not in a thread
        except RoughfedError as error:
            await _send(writer, {"error": str(error), "reason": error.reason})
            return
        try:
            await asyncio.to_thread(moment.copy)
            await _send(writer, {"about": moment.about, "files": moment.files})
            await reader.read()
        except RoughfedError as error:
            await _send(writer, {"error": str(error), "reason": error.reason})
        finally:
            await asyncio.shield(asyncio.to_thread(moment.discard))

    async def _status(self, _: Request) -> dict[str, Any]:
        return self._current()

    async def _pause(self, _: Request) -> dict[str, Any]:
        self._ctx.state.paused = True
        self._ctx.state.wake()
        return {"paused": True, "detail": "the open round goes on; no new one is opened"}

    async def _resume(self, _: Request) -> dict[str, Any]:
        self._ctx.state.paused = False
        self._ctx.state.wake()
        return {"paused": False}

    async def _stop_server(self, _: Request) -> dict[str, Any]:
        self._stop()
        return {"stopping": True}

    async def _revoke(self, request: Request) -> dict[str, Any]:
        name = str(request.get("name"))
        await self._ctx.store.revoke(name, time.time())
        connected = self._ctx.clients.get(name) is not None
        revoke(self._ctx, name)
        return {"revoked": name, "was_connected": connected}

    async def _release(self, request: Request) -> dict[str, Any]:
        name = str(request.get("name"))
        return {"released": name, "was": await release(self._ctx, name)}

    async def _quarantine(self, request: Request) -> dict[str, Any]:
        name, because = str(request.get("name")), str(request.get("because") or "")
        why = await quarantine(self._ctx, name, because)
        return {"quarantined": name, "because": why, "connected": self._ctx.clients.get(name) is not None}

    async def _rotate(self, _: Request) -> dict[str, Any]:
        if self.rotate is None:
            raise ConfigError("this server cannot get another certificate while it runs", cure="start it again")
        return await self.rotate()

    async def _renew(self, request: Request) -> dict[str, Any]:
        return renewal.ask(self._ctx, [str(name) for name in request.get("names", ())])


async def _send(writer: asyncio.StreamWriter, answer: Mapping[str, Any]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()
