"""A client's wire without a socket: the same bytes as over gRPC, handed to the server's own service in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from roughfed.client.connection.rpc import Connection, meaning
from roughfed.client.members.credential_files import Credentials
from roughfed.errors import RoughfedError
from roughfed.messages import ClientMessage, Hello, ServerMessage
from roughfed.server.transport.rpc import FederationService

ADDRESS = "this process"
NO_CONTEXT = None
"""The service asks gRPC nothing: who calls is in `roughfed.server.transport.interceptors.CALLER`."""

CANCEL_S = 0.1


class SimulatedLink(Connection):
    """The connection of an agent whose session is the one that its client slept on."""

    def __init__(
        self,
        service: FederationService,
        papers: Credentials,
        incoming: AsyncIterator[ServerMessage],
        send: Callable[[ClientMessage], None],
        *,
        before_upload: Callable[[], Awaitable[None]],
    ) -> None:
        """Stand on a session that is open.

        Args:
            service: the server's; calls other than the session go to it.
            papers: the client's.
            incoming: what the agent hears.
            send: carries what it says.
            before_upload: awaited before an upload begins; may never return.
        """
        self.address, self.credentials = ADDRESS, papers
        self._incoming, self._send, self._service = incoming, send, service
        self._before_upload = before_upload
        self._get_model: Any = self._model
        self._put_update: Any = self._upload
        self._update_status: Any = self._status
        self._get_members: Any = self._members

    async def close(self) -> None:
        """Nothing is open."""

    async def session(self, outgoing: AsyncIterator[ClientMessage]) -> AsyncIterator[ServerMessage]:
        """As of `Connection.session`; the hello was said when the session was opened."""

        async def speak() -> None:
            async for message in outgoing:
                if not isinstance(message, Hello):
                    self._send(message)

        speaking = asyncio.create_task(speak())
        try:
            async for message in self._incoming:
                yield message
        finally:
            while not speaking.done():  # before Python 3.12, `wait_for` may lose a cancellation to what it waited for
                speaking.cancel()
                await asyncio.wait({speaking}, timeout=CANCEL_S)

    def _model(self, request: bytes) -> AsyncIterator[bytes]:
        return streamed(self._service.get_model(request, NO_CONTEXT))

    def _upload(self, requests: AsyncIterator[bytes]) -> Awaitable[bytes]:
        return crossed(self._put(requests))

    async def _put(self, requests: AsyncIterator[bytes]) -> bytes:
        await self._before_upload()
        return await self._service.put_update(requests, NO_CONTEXT)

    async def _status(self, request: bytes, *, timeout: float) -> bytes:  # noqa: ASYNC109  as gRPC has it
        async with asyncio.timeout(timeout):
            return await crossed(self._service.update_status(request, NO_CONTEXT))

    async def _members(self, request: bytes, *, timeout: float) -> bytes:  # noqa: ASYNC109  as gRPC has it
        async with asyncio.timeout(timeout):
            return await crossed(self._service.get_members(request, NO_CONTEXT))


async def streamed(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What the server sends; its refusals as the client understands them."""
    try:
        async for message in stream:
            yield message
    except RoughfedError as error:
        raise told(error) from None


async def crossed(answer: Awaitable[bytes]) -> bytes:
    """One answer, likewise."""
    try:
        return await answer
    except RoughfedError as error:
        raise told(error) from None


def told(error: RoughfedError) -> RoughfedError:
    """A server's error as its client gets it over the wire."""
    return meaning(error.status, str(error), error.reason)
