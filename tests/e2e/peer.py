"""A client made of bare gRPC calls, for what no honest agent would send."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import grpc

from roughfed import __version__
from roughfed.client.members.credential_files import Credentials
from roughfed.crypto import join_line
from roughfed.crypto.certificates import SERVER_HOST
from roughfed.crypto.identity import IdentityKey
from roughfed.deploy import agent
from roughfed.digest import content_digest
from roughfed.messages import PROTOCOL, Hello, ServerMessage, Welcome
from roughfed.types import Job, Receipt, Signed, UpdateStatement
from roughfed.wire.chunks import encode_chunk
from roughfed.wire.session import decode_header, decode_server_message, encode_client_message
from roughfed.wire.updates import UPDATE_DOMAIN, decode_receipt, encode_statement

from .federation import PATIENCE_S, Cluster

M = TypeVar("M")

SERVICE = "/roughfed.v1.Federation"
Refusal = tuple[str, str]
"""gRPC status and roughfed-reason; the reason is empty when the call never reached roughfed."""


def enrol(cluster: Cluster, name: str) -> Credentials:
    """Papers for a client of which no agent runs."""
    folder = cluster.client_folder(name)
    folder.mkdir()
    return asyncio.run(agent.join(folder, join_line.parse(cluster.invite(name)), policy="updates"))


class Peer:
    """One caller. Close it, or use it in a `with` block."""

    def __init__(self, address: str, papers: Credentials, *, anonymous: bool = False) -> None:
        """`anonymous`: show no certificate."""
        self.papers = papers
        pair = (None, None) if anonymous else (papers.tls_key, papers.certificate)
        options = [("grpc.ssl_target_name_override", SERVER_HOST), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.secure_channel(
            address, grpc.ssl_channel_credentials(papers.ca_certificate, *pair), options=options
        )
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[ServerMessage | Refusal] = queue.SimpleQueue()
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._outbox.put(None)
        self._channel.close()
        if self._reader is not None:
            self._reader.join(PATIENCE_S)

    # -- the session ---------------------------------------------------------------------------------------------------

    def open(self, first: bytes) -> None:
        """Open a session with any first message (the one before, if there was one, is over)."""
        self._outbox.put(None)
        self._outbox = queue.SimpleQueue()
        call = self._channel.stream_stream(f"{SERVICE}/Session")(iter(self._outbox.get, None))
        self._outbox.put(first)
        self._reader = threading.Thread(target=self._read, args=(call,), name=f"session-{self.papers.name}")
        self._reader.start()

    def hello(self, **changes: Any) -> Hello:
        """What an honest agent says first, with changes."""
        said = Hello(__version__, PROTOCOL, self.papers.member, b"", ("identity",), "cpu")
        return replace(said, **changes)

    def join(self) -> Welcome:
        """Open a session as an honest agent does."""
        self.open(encode_client_message(self.hello()))
        return self.next(Welcome)

    def send(self, message: bytes) -> None:
        """Any further message."""
        self._outbox.put(message)

    def next(self, kind: type[M]) -> M:
        """The next message of a kind; what comes before it is skipped."""
        while not isinstance(message := self._inbox.get(timeout=PATIENCE_S), kind):
            assert not isinstance(message, tuple), f"{self.papers.name}'s session ended: {message}"
        return message

    def end(self) -> Refusal:
        """How the server ended the session."""
        return self.next(tuple)  # type: ignore[type-var]

    def _read(self, call: Any) -> None:
        try:
            for raw in call:
                self._inbox.put(decode_server_message(raw))
            self._inbox.put(("OK", ""))
        except grpc.RpcError as error:
            self._inbox.put(refusal(error))

    def one_session(self, first: bytes) -> Refusal:
        """How a session of its own ends that begins with any first message."""
        try:
            for _ in self._channel.stream_stream(f"{SERVICE}/Session")(iter([first]), timeout=PATIENCE_S):
                pass
        except grpc.RpcError as error:
            return refusal(error)
        return "OK", ""

    # -- calls ---------------------------------------------------------------------------------------------------------

    def put(self, chunks: Iterable[bytes]) -> Receipt | Refusal:
        """PutUpdate."""
        try:
            return decode_receipt(self._channel.stream_unary(f"{SERVICE}/PutUpdate")(iter(chunks), timeout=PATIENCE_S))
        except grpc.RpcError as error:
            return refusal(error)

    def ask(self, method: str, request: bytes) -> bytes | Refusal:
        """A call with one request and one answer."""
        return self.other(f"{SERVICE}/{method}", request)

    def other(self, path: str, request: bytes) -> bytes | Refusal:
        """The same of any service."""
        try:
            return self._channel.unary_unary(path)(request, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            return refusal(error)

    def read(self, request: bytes) -> list[bytes] | Refusal:
        """GetModel."""
        try:
            return list(self._channel.unary_stream(f"{SERVICE}/GetModel")(request, timeout=PATIENCE_S))
        except grpc.RpcError as error:
            return refusal(error)

    def download(self, request: bytes) -> Any:
        """GetModel, to be read piece by piece, or not."""
        return self._channel.unary_stream(f"{SERVICE}/GetModel")(request, timeout=PATIENCE_S)

    # -- statements ----------------------------------------------------------------------------------------------------

    def statement(self, job: Job, data: bytes, **changes: Any) -> UpdateStatement:
        """The statement of an honest agent about these bytes, with changes."""
        header = decode_header(job.header.body)
        honest = UpdateStatement(
            run=header.run,
            round=header.round,
            client=self.papers.name,
            header_digest=job.header.digest,
            digest=content_digest(data),
            size_bytes=len(data),
            num_examples=1,
        )
        return replace(honest, **changes)

    def sign(self, statement: UpdateStatement, *, key: IdentityKey | None = None) -> Signed:
        """Under this client's key, or another."""
        body = encode_statement(statement)
        return Signed(body, (key or self.papers.identity).sign(UPDATE_DOMAIN, body), self.papers.name)


def refusal(error: grpc.RpcError) -> Refusal:
    call: Any = error
    reason = next((str(v) for k, v in call.trailing_metadata() or () if k == "roughfed-reason"), "")
    return call.code().name, reason


def chunks(signed: Signed | None, data: bytes, *, at: int = 0, size: int = 1 << 20) -> Iterator[bytes]:
    """An upload from byte `at` on; the statement goes with the first chunk."""
    for offset in range(at, max(len(data), at + 1), size):
        yield encode_chunk(offset, data[offset : offset + size], signed if offset == at else None)
