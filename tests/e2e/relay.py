"""A recorder with hands: it stops a client's word until told to go on, and says something in a client's name.

So a test can hold a real round open at any stage, and let a member of it say what no honest agent would.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from roughfed.messages import ClientStage
from roughfed.transport.names import SERVICE
from roughfed.types import Job
from roughfed.wire.chunks import decode_chunk
from roughfed.wire.session import decode_client_message, decode_header, decode_server_message
from roughfed.wire.updates import decode_statement

from .federation import PATIENCE_S
from .recorder import Context, Line, Recorder, passed_on

Held = tuple[str, str, int]
"""Client, a stage's kind or "upload", round."""


class Relay(Recorder):
    """Keeps, beside what a recorder keeps, all that is needed to say it again."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.said: dict[Held, ClientStage] = {}
        self.sent: dict[tuple[str, int], list[bytes]] = {}
        self.jobs: dict[tuple[str, int], Job] = {}
        self.lines: dict[str, Hand] = {}
        self._news = threading.Condition()
        self._gates: dict[Held, tuple[threading.Event, asyncio.Event]] = {}

    @property
    def papers(self) -> dict[str, Any]:
        """Each client's own."""
        return self._papers

    def hold(self, name: str, what: str, number: int) -> None:
        """Stop this word of a client once it comes; to be said before."""
        self._gates[name, what, number] = threading.Event(), asyncio.Event()

    def reached(self, *held: Any) -> None:
        """Wait until the word that is held is there."""
        assert self._gates[held][0].wait(PATIENCE_S), f"{held} was not said"

    def release(self, *held: Any) -> None:
        """Let it go on its way."""
        self._loop.call_soon_threadsafe(self._gates[held][1].set)

    def inject(self, name: str, raw: bytes) -> None:
        """Say something in a client's session."""
        self._loop.call_soon_threadsafe(self.lines[name].outbox.put_nowait, raw)

    def keep(self, held: Held, message: ClientStage) -> None:
        """A client's first word of a kind in a round."""
        with self._news:
            self.said.setdefault(held, message)
            self._news.notify_all()

    def word(self, *held: Any) -> ClientStage:
        """What was said, as soon as it is."""
        with self._news:
            assert self._news.wait_for(lambda: held in self.said, PATIENCE_S), f"{held} was not said"
            return self.said[held]

    async def gate(self, *held: Any) -> None:
        """Wait where somebody said so."""
        if held in self._gates:
            there, go = self._gates[held]
            there.set()
            await go.wait()


class Hand(Line):
    """One client's line."""

    def __init__(self, relay: Relay, name: str, *args: Any) -> None:
        super().__init__(relay, name, *args)
        self._relay, self.number = relay, 0
        self.outbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        relay.lines[name] = self

    async def _session(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        self.outbox = asyncio.Queue()
        pump = asyncio.create_task(self._pump(requests, self.outbox))
        call = self._channel.stream_stream(f"/{SERVICE}/Session")(spoken(self.outbox))
        try:
            async for raw in call:
                if isinstance(message := decode_server_message(raw), Job):
                    self.number = decode_header(message.header.body).round
                    self._relay.jobs[self.name, self.number] = message
                yield raw
        except grpc.aio.AioRpcError as error:
            await passed_on(error, context)
        finally:
            pump.cancel()
            call.cancel()

    async def _pump(self, requests: AsyncIterator[bytes], outbox: asyncio.Queue[bytes | None]) -> None:
        with suppress(asyncio.CancelledError):
            async for raw in requests:
                if isinstance(message := decode_client_message(raw), ClientStage):
                    held = self.name, message.kind, self.number
                    self._relay.keep(held, message)
                    await self._relay.gate(*held)
                outbox.put_nowait(raw)
        outbox.put_nowait(None)

    async def _put_update(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        async def held() -> AsyncIterator[bytes]:
            kept: list[bytes] = []
            async for raw in requests:
                if (update := decode_chunk(raw).update) is not None:
                    number = decode_statement(update.body).round
                    self._relay.sent[self.name, number] = kept
                    await self._relay.gate(self.name, "upload", number)
                kept.append(raw)
                yield raw

        return await super()._put_update(held(), context)


Relay.LINE = Hand


async def spoken(outbox: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    while (raw := await outbox.get()) is not None:
        yield raw
