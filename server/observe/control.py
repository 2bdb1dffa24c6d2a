"""What the operator may ask of a running server, through its control socket (`roughfed.transport.control_socket`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any

from roughfed.errors import ConfigError
from roughfed.server.backup.snapshot import Moment, sweep
from roughfed.server.context.server import ServerContext
from roughfed.server.observe import renewal
from roughfed.server.observe.status import Status
from roughfed.server.round.events import quarantine, release, revoke, vouch_for, withdraw_vouch
from roughfed.transport.control_socket import Operations, Request, control_socket, send

QUIETEST_S = 1.0
"""`watch` sends at least once in so long, so that elapsed times move on the operator's screen."""
FASTEST_S = 0.1


class Control:
    """The operations.

    Attributes:
        operations: by name, beside the streams "watch" and "backup".
    """

    rotate: Callable[[], Awaitable[dict[str, Any]]] | None = None
    """Gets the server new keys and a new certificate at once."""

    def __init__(self, ctx: ServerContext, status: Status, stop: Callable[[], None]) -> None:
        """`stop` begins the server's drain."""
        self._ctx, self._current, self._stop = ctx, status, stop
        self.operations: Operations = {
            "status": self._status,
            "pause": self._pause,
            "resume": self._resume,
            "stop": self._stop_server,
            "revoke": self._revoke,
            "quarantine": self._quarantine,
            "release": self._release,
            "vouch": self._vouch,
            "withdraw-vouch": self._withdraw_vouch,
            "rotate": self._rotate,
            "renew": self._renew,
        }

    def serve(self, folder: Path) -> AbstractAsyncContextManager[None]:
        """Have the socket in the state directory `folder`; see `control_socket`."""
        sweep(folder)
        return control_socket(folder, self.operations, {"watch": self._watch, "backup": self._backup})

    async def _watch(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A line at every change."""
        event = self._ctx.state.watch()
        try:
            while True:
                event.clear()
                await send(writer, self._current())
                await asyncio.sleep(FASTEST_S)  # the rate at which a person's screen is worth redrawing
                with suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), QUIETEST_S)
        finally:
            self._ctx.state.unwatch(event)

    async def _backup(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold on to this moment for as long as the other end keeps the connection; it reads the files itself."""
        moment = Moment.pin(self._ctx.store.folder)  # on the loop, like everything that deletes: not in a thread
        try:
            await asyncio.to_thread(moment.copy)
            await send(writer, {"about": moment.about, "files": moment.files})
            await reader.read()
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

    async def _vouch(self, request: Request) -> dict[str, Any]:
        name, because = str(request.get("name")), str(request.get("because") or "")
        await vouch_for(self._ctx, name, because)
        return {"vouched": name}

    async def _withdraw_vouch(self, request: Request) -> dict[str, Any]:
        name = str(request.get("name"))
        await withdraw_vouch(self._ctx, name)
        return {"withdrawn": name}

    async def _rotate(self, _: Request) -> dict[str, Any]:
        if self.rotate is None:
            raise ConfigError("this server cannot get another certificate while it runs", cure="start it again")
        return await self.rotate()

    async def _renew(self, request: Request) -> dict[str, Any]:
        return renewal.ask(self._ctx, [str(name) for name in request.get("names", ())])
