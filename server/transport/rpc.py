"""The federation port: gRPC on one side, the server's rooms on the other; bytes become values here (roughfed.wire)."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio

from roughfed import __version__
from roughfed.compatibility import spoken
from roughfed.digest import content_digest
from roughfed.errors import IdentityError, RemoteProtocolError, StaleRound
from roughfed.messages import (
    OLDEST,
    PROTOCOL,
    RENEW,
    ClientMessage,
    ClientStage,
    Finished,
    Heartbeat,
    Hello,
    Reconnect,
    Welcome,
)
from roughfed.server.cohort.tiers import check_hello, offered
from roughfed.server.context.server import ServerContext
from roughfed.server.members.sessions import ClientSession
from roughfed.server.members.strikes import STRIKES, cut
from roughfed.server.model import downlink
from roughfed.server.model.frozen import source_of
from roughfed.server.round.events import RoundEvents
from roughfed.server.round.updates.masked import accept_stage
from roughfed.server.storage.proof import proof_of
from roughfed.server.transport.interceptors import CALLER
from roughfed.server.uploads.intake import Upload
from roughfed.server.uploads.transfer_queue import SMALL_BYTES, TransferGate
from roughfed.transport.names import GO, PROTOCOL_KEY, SERVICE, SOFTWARE_KEY, TIME_KEY
from roughfed.transport.patience import PROGRESS_S
from roughfed.types import Job, Receipt
from roughfed.wire.chunks import Chunk, chunk_length, decode_chunk, encode_chunk
from roughfed.wire.enrolment import open_member
from roughfed.wire.member_list import decode_get_members
from roughfed.wire.session import (
    decode_client_message,
    decode_get_model,
    encode_server_message,
)
from roughfed.wire.transfer_turns import bears_waiting
from roughfed.wire.updates import decode_update_status_request, encode_receipt, encode_update_status

CACHE_BYTES = 16 << 20
"""Encoded chunks that are kept for the next client: a cohort downloads the same model at about the same time."""

CACHED_FILES = 8
"""Of so many models and deltas at most: of small ones, those of hundreds of rounds would pile up."""

HELLO_S = 10.0

Context = grpc.aio.ServicerContext[Any, Any] | None
"""None where a call comes from this process itself."""


class FederationService:
    """The five methods of the federation port."""

    def __init__(self, ctx: ServerContext, events: RoundEvents, ca_certificate: bytes) -> None:
        """Serve one federation."""
        self._ctx, self._events, self._ca = ctx, events, ca_certificate
        limits = ctx.config.server.transfers
        self._uploading, self._downloading = TransferGate(limits), TransferGate(limits)
        self._cache: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._held = 0
        self._downloads: dict[str, object] = {}
        self._cut: set[str] = set()
        """Clients whose last download did not come to its end: they get short chunks at first."""
        self.streams = 0

    def handlers(self) -> grpc.GenericRpcHandler:
        """For `grpc.aio.Server.add_generic_rpc_handlers`; requests and replies are bytes."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Session": grpc.stream_stream_rpc_method_handler(self.session),
                "GetModel": grpc.unary_stream_rpc_method_handler(self.get_model),
                "PutUpdate": grpc.stream_unary_rpc_method_handler(self.put_update),
                "UpdateStatus": grpc.unary_unary_rpc_method_handler(self.update_status),
                "GetMembers": grpc.unary_unary_rpc_method_handler(self.get_members),
            },
        )

    # -- Session ------------------------------------------------------------------------------------------------------

    async def session(self, requests: AsyncIterator[bytes], context: Context) -> AsyncGenerator[bytes]:
        """Hello, then control messages both ways until either side ends it."""
        del context
        hello = decode_client_message(await next_or_stalled(requests, HELLO_S))
        session = self._greet(hello)
        session.task = asyncio.current_task()
        ctx = self._ctx
        ctx.clients.join(session)
        reader = asyncio.create_task(self._read(session, requests))
        self.streams += 1
        ctx.metrics.streams(self.streams)
        try:
            yield encode_server_message(self._welcome())
            while (message := await session.queue.get()) is not None:
                if isinstance(message, Finished):
                    # before: a client that has read it hangs up, and this never resumes
                    ctx.clients.said_farewell.add(session.name)
                yield encode_server_message(message)
                if isinstance(message, Job) and (round_ := ctx.state.round) is not None:
                    ctx.metrics.dispatched(time.time() - round_.row.opened_at)
                if isinstance(message, Reconnect) and message.reason != RENEW:
                    return
            if session.close_reason == "revoked":
                raise IdentityError(f"{session.name} is revoked", reason="revoked")
            if session.close_reason == STRIKES:
                raise cut(session.name)
            if session.close_reason == "protocol":
                raise RemoteProtocolError("a message of this session was malformed", reason="schema")
        finally:
            reader.cancel()
            self.streams -= 1
            ctx.metrics.streams(self.streams)
            ctx.clients.leave(session)

    def _greet(self, hello: object) -> ClientSession:
        if not isinstance(hello, Hello):
            raise RemoteProtocolError("a session begins with hello", reason="schema")
        spoken(hello.protocol, who="client", software=hello.software)
        entry = open_member(hello.member, self._ca, federation=self._ctx.identity.external)
        name = CALLER.get()
        if entry.name != name or entry.role != "client":
            raise IdentityError(f"the roster entry is {entry.name}'s, the certificate {name}'s", reason="impersonation")
        check_hello(self._ctx.config, hello)
        if hello.spec_digest and hello.spec_digest != self._ctx.spec.digest:
            raise RemoteProtocolError("the client's model has other tensors than the federation's", reason="schema")
        self._ctx.clients.listing.admit(entry.name, entry.identity_key)
        ctx = self._ctx
        proof = proof_of(hello.seen, run=ctx.run, ca_certificate=self._ca, federation=ctx.identity.external)
        return ClientSession(name, entry.identity_key, content_digest(hello.member), hello, proof=proof)

    def _welcome(self) -> Welcome:
        ctx = self._ctx
        return Welcome(
            software=__version__,
            protocol=PROTOCOL,
            run=ctx.run,
            spec=ctx.spec,
            server=ctx.identity.member,
            server_sees=ctx.config.privacy.server_sees,
            task=ctx.config.federation.task,
            rounds=ctx.config.round.rounds,
            private=ctx.config.model.private,
            tiers=offered(ctx.config),
            base=ctx.base,
            time=time.time(),
            paced=True,
            clusters=ctx.config.clusters.chosen_among,
        )

    async def _read(self, session: ClientSession, requests: AsyncIterator[bytes]) -> None:
        reason = "ended"
        try:
            async for raw in requests:
                message = decode_client_message(raw)
                session.last_seen = time.monotonic()
                await self._hear(session, message)
        except RemoteProtocolError:
            reason = "protocol"
        finally:
            session.close(reason)

    async def _hear(self, session: ClientSession, message: ClientMessage) -> None:
        ctx = self._ctx
        match message:
            case Heartbeat():
                before = session.phase
                session.hear(message, samples=not ctx.config.privacy.masked)
                ctx.metrics.seen(session.name)
                ctx.trace.client(session.name, session.phase)
                (ctx.state.changed if session.phase == before else ctx.state.wake)()
            case ClientStage():
                accept_stage(ctx, session, message)
            case Hello():
                raise RemoteProtocolError("a second hello", reason="schema")
            case _:
                if not self._events.on_message(session, message):
                    await ctx.extensions.on_message(session, message)

    # -- GetModel -----------------------------------------------------------------------------------------------------

    async def get_model(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """Chunks of one version, or of what leads to it from another one, from a byte offset on."""
        del context
        ctx = self._ctx
        client = CALLER.get()
        digest, offset, base = decode_get_model(request)
        frozen = ctx.base is not None and digest == ctx.base.digest and not base
        source = source_of(ctx.store.folder) if frozen else downlink.source(ctx.store, digest, base=base, spec=ctx.spec)
        if offset > source.size_bytes:
            raise RemoteProtocolError(f"offset {offset} in {source.size_bytes} bytes", reason="offset")
        if offset:
            ctx.metrics.resumed()
        ctx.recent.transfers.note(bool(offset))
        bears = bears_waiting(request)  # who does not may open many calls and read none: each holds a chunk
        start, mine, careful = offset, object(), not bears or bool(offset) or client in self._cut
        self._downloads[client] = mine
        waits = bears and source.size_bytes - offset > SMALL_BYTES
        fd, loop = os.open(source.path, os.O_RDONLY), asyncio.get_running_loop()
        began = ctx.trace.now()
        try:
            async with self._downloading.place(client, waits=waits) as moved, asyncio.timeout(PROGRESS_S) as patience:
                began = ctx.trace.now()
                while offset < source.size_bytes:
                    ctx.clients.check(client)
                    if self._downloads.get(client) is not mine:
                        raise StaleRound("a newer download of this client took over", reason="superseded")
                    length = min(chunk_length(offset, start=start, careful=careful), source.size_bytes - offset)
                    yield self._chunk(fd, source, offset=offset, length=length)
                    patience.reschedule(loop.time() + PROGRESS_S)
                    moved(length)
                    ctx.state.traffic.download += length
                    plain = source.size_bytes if source.codec == "identity" else ctx.spec.size_bytes
                    raw = plain_bytes(length, offset, source.size_bytes, plain)
                    ctx.metrics.transfer("down", length, raw, source.codec)
                    offset += length
        finally:
            os.close(fd)
            (self._cut.add if offset < source.size_bytes else self._cut.discard)(client)
            if offset > start:
                ctx.trace.transfer(client, "download", began, offset - start, offset=start)

    def _chunk(self, fd: int, source: downlink.DownloadSource, *, offset: int, length: int) -> bytes:
        key = (source.path.name, offset, length)
        if (known := self._cache.get(key)) is not None:
            return known
        chunk = encode_chunk(offset, os.pread(fd, length, source.start + offset))
        self._cache[key] = chunk
        self._held += len(chunk)
        while self._held > CACHE_BYTES or len({name for name, *_ in self._cache}) > CACHED_FILES:
            _, dropped = self._cache.popitem(last=False)
            self._held -= len(dropped)
        return chunk

    # -- PutUpdate ----------------------------------------------------------------------------------------------------

    async def put_update(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """One update: the statement with the first chunk, then bytes; the receipt at the end.

        A client whose first chunk has no data sends none before it gets the initial metadata: its turn has come.
        """
        client = CALLER.get()
        first = decode_chunk(await next_or_stalled(requests, PROGRESS_S))
        upload = await self._begin(client, first.update)
        if isinstance(upload, Receipt):
            return encode_receipt(upload)
        start = upload.position
        waits = not first.data and upload.statement.size_bytes - start > SMALL_BYTES
        try:
            async with self._uploading.place(client, waits=waits) as moved:
                self._ctx.clients.check(client)
                began = self._ctx.trace.now()
                try:
                    if not first.data and context is not None:
                        await context.send_initial_metadata(((GO, "1"),))
                    await self._write_all(client, upload, first, requests, moved)
                finally:
                    self._ctx.trace.transfer(client, "upload", began, upload.position - start, offset=start)
            return encode_receipt(await self._ctx.intake.finish(client, upload))
        except asyncio.CancelledError:
            self._ctx.clients.check(client)  # who is revoked while it waits is told: gRPC says nothing by itself
            raise
        finally:
            self._ctx.intake.detach(client, upload)
            self._ctx.state.wake()

    async def _write_all(
        self,
        client: str,
        upload: Upload,
        first: Chunk,
        requests: AsyncIterator[bytes],
        moved: Callable[[int], None],
    ) -> None:
        """Write chunk after chunk; one is written while the next is on its way."""
        ctx, loop = self._ctx, asyncio.get_running_loop()
        writing = asyncio.create_task(self._write(client, upload, first))
        try:
            async with asyncio.timeout(PROGRESS_S) as patience:
                async for raw in requests:
                    patience.reschedule(loop.time() + PROGRESS_S)
                    if not (chunk := decode_chunk(raw)).data:  # it would be counted as progress, and is none
                        raise RemoteProtocolError("a chunk without data", reason="schema")
                    await writing
                    moved(len(chunk.data))
                    ctx.clients.check(client)
                    writing = asyncio.create_task(self._write(client, upload, chunk))
            await writing
        except TimeoutError:
            raise stalled(PROGRESS_S) from None
        finally:
            if not writing.done():
                writing.cancel()

    async def _write(self, client: str, upload: Upload, chunk: Chunk) -> None:
        if not chunk.data:
            return
        await self._ctx.intake.write(client, upload, offset=chunk.offset, data=chunk.data)
        self._ctx.state.traffic.upload += len(chunk.data)
        whole = max(1, upload.statement.size_bytes)
        raw = plain_bytes(len(chunk.data), chunk.offset, whole, self._ctx.spec.size_bytes)
        codec = self._ctx.config.codec.uplink(self._ctx.config.privacy.server_sees)
        self._ctx.metrics.transfer("up", len(chunk.data), raw, codec)

    async def _begin(self, client: str, update: Any) -> Upload | Receipt:
        if update is None:
            raise RemoteProtocolError("the first chunk carries no signed statement", reason="schema")
        started = await self._ctx.intake.begin(client, update)
        if isinstance(started, Receipt):
            self._ctx.metrics.update("duplicate", client=client)
            return started
        if started.position:
            self._ctx.metrics.resumed()
        self._ctx.recent.transfers.note(started.position > 0)
        return started

    async def update_status(self, request: bytes, context: Context) -> bytes:
        """How much of an update is here; asked about no run, only who this server is (`roughfed doctor`)."""
        run, number, digest = decode_update_status_request(request)
        if context is not None:
            context.set_trailing_metadata(
                ((SOFTWARE_KEY, __version__), (PROTOCOL_KEY, f"{OLDEST}-{PROTOCOL}"), (TIME_KEY, f"{time.time():.6f}"))
            )
        if not run:
            return encode_update_status(0, None)
        offset, receipt = await self._ctx.intake.status(CALLER.get(), run, number, digest)
        return encode_update_status(offset, receipt)

    async def get_members(self, request: bytes, context: Context) -> bytes:
        """The list of members that a header names."""
        del context
        return self._ctx.clients.listing.signed(decode_get_members(request))


async def next_or_stalled(requests: AsyncIterator[bytes], patience_s: float) -> bytes:
    """The first message of a stream.

    Raises:
        RemoteProtocolError: there is none, or not in time.
    """
    try:
        async with asyncio.timeout(patience_s):
            return await anext(requests)
    except TimeoutError:
        raise stalled(patience_s) from None
    except StopAsyncIteration:
        raise RemoteProtocolError("a stream without a message", reason="truncated") from None


def plain_bytes(length: int, offset: int, encoded: int, plain: int) -> int:
    """How much of `plain` bytes a piece of their encoding stands for; over all pieces it adds up to all of them."""
    return (offset + length) * plain // encoded - offset * plain // encoded


def stalled(patience_s: float) -> RemoteProtocolError:
    """The peer went silent."""
    return RemoteProtocolError(f"no byte for {patience_s:.0f} s", reason="stalled")
