"""A relay between clients and the server that keeps what the clients say under each round's header.

It holds a certificate of the same CA towards the clients and shows the server each client's own: to both sides it is
the other one. What must be one and the same for ever, it compares: one body for each stage of a round, one statement
and one byte at each place of an upload. Whatever a client says twice, it must say alike.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from roughfed.crypto.certificates import SERVER_HOST
from roughfed.messages import ClientStage
from roughfed.secagg.messages import Opening
from roughfed.server.members.authority import Authority
from roughfed.server.members.server_credentials import from_authority
from roughfed.transport.names import SERVICE
from roughfed.types import Job
from roughfed.wire.chunks import decode_chunk
from roughfed.wire.secagg import decode_stage
from roughfed.wire.session import decode_client_message, decode_server_message
from roughfed.wire.updates import decode_statement

from .federation import PATIENCE_S, Cluster, write_toml
from .peer import enrol

Context = grpc.aio.ServicerContext[Any, Any]
Key = tuple[str, bytes, str]
"""Client, digest of the header, what: a stage's kind, or "statement"."""


class Recorder:
    """One port for each client; everything happens in one thread of its own."""

    LINE: type[Line]

    def __init__(self, cluster: Cluster, *names: str) -> None:
        """Enrol these clients, and let them reach the server through here only."""
        self._cluster, self._names = cluster, names
        self.bodies: dict[Key, bytes] = {}
        self.uploads: dict[tuple[str, bytes], bytearray] = {}
        self.times: Counter[Key] = Counter()
        self.conflicts: list[str] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="recorder")

    def __enter__(self) -> Recorder:
        self._papers = {name: enrol(self._cluster, name) for name in self._names}
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE_S)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        place = self._cluster.place
        mine = await from_authority(Authority.open(place.ca), place.folder / "relay", "relay")()
        keys = [(mine.tls_key, mine.certificate)]
        credentials = grpc.ssl_server_credentials(keys, mine.ca_certificate, require_client_auth=True)
        lines = [self.LINE(self, name, self._cluster.address, self._papers[name]) for name in self._names]
        for line in lines:
            port = await line.listen(credentials)
            folder: Path = self._cluster.client_folder(line.name)
            settings = {"client": {"server": f"127.0.0.1:{port}"}, "http": {"enabled": False}}
            write_toml(folder / "client.toml", self._cluster.agreed(settings))
        self._ready.set()
        await self._over.wait()
        for line in lines:
            await line.close()

    # -- what is kept --------------------------------------------------------------------------------------------------

    def hear(self, name: str, header: bytes, raw: bytes) -> None:
        """A message of a client's session, in the round with this header."""
        message = decode_client_message(raw)
        if isinstance(message, ClientStage):
            about = decode_stage(Opening, message.signed.body).against if message.kind == "opening" else ""
            self._keep((name, header, f"{message.kind} {about}".strip()), message.signed.body)

    def chunk(self, name: str, raw: bytes, header: bytes) -> bytes:
        """A chunk of an upload; returns the digest of the header that its statement names."""
        chunk = decode_chunk(raw)
        if chunk.update is not None:
            header = decode_statement(chunk.update.body).header_digest
            self._keep((name, header, "statement"), chunk.update.body)
        known = self.uploads.setdefault((name, header), bytearray())
        before = bytes(known[chunk.offset : chunk.offset + len(chunk.data)])
        if before != bytes(chunk.data[: len(before)]):
            self.conflicts.append(f"{name}: other bytes at {chunk.offset}")
        known[chunk.offset :] = chunk.data if len(before) < len(chunk.data) else known[chunk.offset :]
        return header

    def _keep(self, key: Key, body: bytes) -> None:
        self.times[key] += 1
        if self.bodies.setdefault(key, body) != body:
            self.conflicts.append(f"{key[0]}: another {key[2]} under {key[1].hex()[:8]}")


class Line:
    """What lies between one client and the server."""

    def __init__(self, recorder: Recorder, name: str, address: str, papers: Any) -> None:
        self.name, self._recorder, self._header = name, recorder, b""
        credentials = grpc.ssl_channel_credentials(papers.ca_certificate, papers.tls_key, papers.certificate)
        options = [("grpc.ssl_target_name_override", SERVER_HOST), ("grpc.enable_http_proxy", 0)]
        options += [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]
        self._channel = grpc.aio.secure_channel(address, credentials, options=options)
        self._server = grpc.aio.server()

    async def listen(self, credentials: grpc.ServerCredentials) -> int:
        """Take the client's calls; returns the port."""
        handlers = {
            "Session": grpc.stream_stream_rpc_method_handler(self._session),
            "GetModel": grpc.unary_stream_rpc_method_handler(self._get_model),
            "PutUpdate": grpc.stream_unary_rpc_method_handler(self._put_update),
            "UpdateStatus": grpc.unary_unary_rpc_method_handler(partial(self._ask, "UpdateStatus")),
            "GetMembers": grpc.unary_unary_rpc_method_handler(partial(self._ask, "GetMembers")),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = self._server.add_secure_port("127.0.0.1:0", credentials)
        await self._server.start()
        return port

    async def close(self) -> None:
        await self._server.stop(0)
        await self._channel.close()

    async def _session(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async def recorded() -> AsyncIterator[bytes]:
            async for raw in requests:
                self._recorder.hear(self.name, self._header, raw)
                yield raw

        call = self._channel.stream_stream(f"/{SERVICE}/Session")(recorded())
        try:
            async for raw in call:
                if isinstance(message := decode_server_message(raw), Job):
                    self._header = message.header.digest
                yield raw
        except grpc.aio.AioRpcError as error:
            await passed_on(error, context)
        finally:
            call.cancel()

    async def _get_model(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        call = self._channel.unary_stream(f"/{SERVICE}/GetModel")(request)
        try:
            async for raw in call:
                yield raw
        except grpc.aio.AioRpcError as error:
            await passed_on(error, context)
        finally:
            call.cancel()

    async def _put_update(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        async def recorded() -> AsyncIterator[bytes]:
            header = b""
            async for raw in requests:
                header = self._recorder.chunk(self.name, raw, header)
                yield raw

        try:
            call = self._channel.stream_unary(f"/{SERVICE}/PutUpdate")(recorded())
            said = tuple(await call.initial_metadata())  # whether the client's turn has come
            await context.send_initial_metadata(said)
            return await call
        except grpc.aio.AioRpcError as error:
            return await passed_on(error, context)

    async def _ask(self, method: str, request: bytes, context: Context) -> bytes:
        try:
            return await self._channel.unary_unary(f"/{SERVICE}/{method}")(request)
        except grpc.aio.AioRpcError as error:
            return await passed_on(error, context)


Recorder.LINE = Line


async def passed_on(error: grpc.aio.AioRpcError, context: Context) -> Any:
    """The server's refusal, as the client must see it."""
    await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
