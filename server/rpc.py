"""The federation port: gRPC on one side, the server's rooms on the other; bytes become values here (roughfed.wire)."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
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
    Choice,
    ClientMessage,
    ClientStage,
    EvaluationReport,
    Finished,
    Heartbeat,
    Hello,
    JobUpdate,
    Leave,
    Reconnect,
    Welcome,
)
from roughfed.server import downlink
from roughfed.server.classes import check_hello, offered
from roughfed.server.clusters.asking import answered
from roughfed.server.federation import Federation
from roughfed.server.frozen import source_of
from roughfed.server.gate import SMALL_BYTES
from roughfed.server.intake import Upload
from roughfed.server.interceptors import CALLER
from roughfed.server.masked.drive import take
from roughfed.server.membership import Session
from roughfed.server.rolled_back import proof_of
from roughfed.server.strikes import STRIKES, cut
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
from roughfed.wire.turns import bears_waiting
from roughfed.wire.updates import decode_update_status_request, encode_receipt, encode_update_status

CACHE_BYTES = 16 << 20
"""Encoded chunks that are kept for the next client: a cohort downloads the same model at about the same time."""

CACHED_FILES = 8
"""Of so many models and deltas at most: of small ones, those of hundreds of rounds would pile up."""

HELLO_S = 10.0

Context = grpc.aio.ServicerContext[Any, Any]


class FederationService:
    """The five methods of the federation port."""

    def __init__(self, fed: Federation, ca_certificate: bytes) -> None:
        """Serve one federation."""
        self._fed, self._ca = fed, ca_certificate
        self._cache: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._held = 0
        self._downloads: dict[str, object] = {}
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

    async def session(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Hello, then control messages both ways until either side ends it."""
        del context
        hello = decode_client_message(await next_or_stalled(requests, HELLO_S))
        session = self._greet(hello)
        session.task = asyncio.current_task()
        fed = self._fed
        fed.members.join(session)
        reader = asyncio.create_task(self._read(session, requests))
        self.streams += 1
        fed.metrics.streams(self.streams)
        try:
            yield encode_server_message(self._welcome())
            while (message := await session.queue.get()) is not None:
                if isinstance(message, Finished):
                    fed.told.add(session.name)  # before: a client that has read it hangs up, and this never resumes
                yield encode_server_message(message)
                if isinstance(message, Job) and fed.row is not None:
                    fed.metrics.dispatched(time.time() - fed.row.opened_at)
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
            fed.metrics.streams(self.streams)
            fed.members.leave(session)

    def _greet(self, hello: object) -> Session:
        if not isinstance(hello, Hello):
            raise RemoteProtocolError("a session begins with hello", reason="schema")
        spoken(hello.protocol, who="client", software=hello.software)
        entry = open_member(hello.member, self._ca, federation=self._fed.external)
        name = CALLER.get()
        if entry.name != name or entry.role != "client":
            raise IdentityError(f"the roster entry is {entry.name}'s, the certificate {name}'s", reason="impersonation")
        check_hello(self._fed.config, hello)
        if hello.spec_digest and hello.spec_digest != self._fed.spec.digest:
            raise RemoteProtocolError("the client's model has other tensors than the federation's", reason="schema")
        self._fed.listing.admit(entry.name, entry.identity_key)
        fed = self._fed
        proof = proof_of(hello.seen, run=fed.run, ca_certificate=self._ca, federation=fed.external)
        return Session(name, entry.identity_key, content_digest(hello.member), hello, proof=proof)

    def _welcome(self) -> Welcome:
        fed = self._fed
        return Welcome(
            software=__version__,
            protocol=PROTOCOL,
            run=fed.run,
            spec=fed.spec,
            server=fed.member,
            server_sees=fed.config.privacy.server_sees,
            task=fed.config.federation.task,
            rounds=fed.config.round.rounds,
            private=fed.config.model.private,
            classes=offered(fed.config),
            base=fed.base,
            time=time.time(),
            paced=True,
            clusters=fed.config.clusters.chosen_among,
        )

    async def _read(self, session: Session, requests: AsyncIterator[bytes]) -> None:
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

    async def _hear(self, session: Session, message: ClientMessage) -> None:
        fed = self._fed
        match message:
            case Heartbeat():
                before = session.phase
                session.hear(message, samples=not fed.config.privacy.masked)
                fed.metrics.seen(session.name)
                fed.trace.client(session.name, session.phase)
                (fed.changed if session.phase == before else fed.wake)()
            case JobUpdate():
                fed.job_update(session, message)
            case EvaluationReport():
                fed.evaluation(session, message)
            case ClientStage():
                take(fed, session, message)
            case Choice():
                await answered(fed, session, message)
            case Leave():
                fed.leave(session, message)
                session.close("away")
            case Hello():
                raise RemoteProtocolError("a second hello", reason="schema")

    # -- GetModel -----------------------------------------------------------------------------------------------------

    async def get_model(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """Chunks of one version, or of what leads to it from another one, from a byte offset on."""
        del context
        fed = self._fed
        client = CALLER.get()
        digest, offset, base = decode_get_model(request)
        frozen = fed.base is not None and digest == fed.base.digest and not base
        source = source_of(fed.store.folder) if frozen else downlink.source(fed.store, digest, base=base, spec=fed.spec)
        if offset > source.size_bytes:
            raise RemoteProtocolError(f"offset {offset} in {source.size_bytes} bytes", reason="offset")
        if offset:
            fed.metrics.resumed()
        fed.recent.transfers.note(bool(offset))
        start, mine = offset, object()
        self._downloads[client] = mine
        waits = bears_waiting(request) and source.size_bytes - offset > SMALL_BYTES
        fd, loop = os.open(source.path, os.O_RDONLY), asyncio.get_running_loop()
        began = fed.trace.now()
        try:
            async with fed.downloading.place(client, waits=waits) as moved, asyncio.timeout(PROGRESS_S) as patience:
                began = fed.trace.now()
                while offset < source.size_bytes:
                    fed.members.check(client)
                    if self._downloads.get(client) is not mine:
                        raise StaleRound("a newer download of this client took over", reason="superseded")
                    length = min(chunk_length(offset, start=start), source.size_bytes - offset)
                    yield self._chunk(fd, source, offset=offset, length=length)
                    patience.reschedule(loop.time() + PROGRESS_S)
                    moved(length)
                    fed.traffic.download += length
                    plain = source.size_bytes if source.codec == "identity" else fed.spec.size_bytes
                    raw = plain_bytes(length, offset, source.size_bytes, plain)
                    fed.metrics.transfer("down", length, raw, source.codec)
                    offset += length
        finally:
            os.close(fd)
            if offset > start:
                fed.trace.transfer(client, "download", began, offset - start, offset=start)

    def _chunk(self, fd: int, source: downlink.Source, *, offset: int, length: int) -> bytes:
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
            async with self._fed.uploading.place(client, waits=waits) as moved:
                self._fed.members.check(client)
                began = self._fed.trace.now()
                try:
                    if not first.data and context is not None:
                        await context.send_initial_metadata(((GO, "1"),))
                    await self._write_all(client, upload, first, requests, moved)
                finally:
                    self._fed.trace.transfer(client, "upload", began, upload.position - start, offset=start)
            return encode_receipt(await self._fed.intake.finish(client, upload))
        except asyncio.CancelledError:
            self._fed.members.check(client)  # who is revoked while it waits is told: gRPC says nothing by itself
            raise
        finally:
            self._fed.intake.detach(client, upload)
            self._fed.wake()

    async def _write_all(
        self,
        client: str,
        upload: Upload,
        first: Chunk,
        requests: AsyncIterator[bytes],
        moved: Callable[[int], None],
    ) -> None:
        """Write chunk after chunk; one is written while the next is on its way."""
        fed, loop = self._fed, asyncio.get_running_loop()
        writing = asyncio.create_task(self._write(client, upload, first))
        try:
            async with asyncio.timeout(PROGRESS_S) as patience:
                async for raw in requests:
                    patience.reschedule(loop.time() + PROGRESS_S)
                    if not (chunk := decode_chunk(raw)).data:  # it would be counted as progress, and is none
                        raise RemoteProtocolError("a chunk without data", reason="schema")
                    await writing
                    moved(len(chunk.data))
                    fed.members.check(client)
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
        await self._fed.intake.write(client, upload, offset=chunk.offset, data=chunk.data)
        self._fed.traffic.upload += len(chunk.data)
        whole = max(1, upload.statement.size_bytes)
        raw = plain_bytes(len(chunk.data), chunk.offset, whole, self._fed.spec.size_bytes)
        codec = self._fed.config.codec.uplink(self._fed.config.privacy.server_sees)
        self._fed.metrics.transfer("up", len(chunk.data), raw, codec)

    async def _begin(self, client: str, update: Any) -> Upload | Receipt:
        if update is None:
            raise RemoteProtocolError("the first chunk carries no signed statement", reason="schema")
        started = await self._fed.intake.begin(client, update)
        if isinstance(started, Receipt):
            self._fed.metrics.update("duplicate", client=client)
            return started
        if started.position:
            self._fed.metrics.resumed()
        self._fed.recent.transfers.note(started.position > 0)
        return started

    async def update_status(self, request: bytes, context: Context) -> bytes:
        """How much of an update is here; asked about no run, only who this server is (`roughfed doctor`)."""
        run, number, digest = decode_update_status_request(request)
        context.set_trailing_metadata(
            ((SOFTWARE_KEY, __version__), (PROTOCOL_KEY, f"{OLDEST}-{PROTOCOL}"), (TIME_KEY, f"{time.time():.6f}"))
        )
        if not run:
            return encode_update_status(0, None)
        offset, receipt = await self._fed.intake.status(CALLER.get(), run, number, digest)
        return encode_update_status(offset, receipt)

    async def get_members(self, request: bytes, context: Context) -> bytes:
        """The list of members that a header names."""
        del context
        return self._fed.listing.signed(decode_get_members(request))


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
