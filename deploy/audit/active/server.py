"""A server that says what an attack tells it to say, to whom it tells it, over mutual TLS like any other.

An attack is a coroutine that calls `open`, `ask`, `send` and `next`. Everything that a client says is kept in order;
nothing is checked, because nothing here is to be protected.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from roughfed import __version__
from roughfed.codec import CHAIN
from roughfed.codec.plan import Lanes, plan_lanes
from roughfed.digest import content_digest
from roughfed.masked_round import Masking, maskings_of
from roughfed.messages import (
    PROTOCOL,
    Choice,
    ClientMessage,
    ClientStage,
    Hello,
    JobUpdate,
    Reconnect,
    RoundClosed,
    ServerMessage,
    Welcome,
)
from roughfed.server.members.server_credentials import Papers
from roughfed.transport.names import SERVICE
from roughfed.transport.options import SERVER_OPTIONS
from roughfed.types import Job, Receipt, RoundHeader, Signed, Spec
from roughfed.wire.chunks import decode_chunk, encode_chunk
from roughfed.wire.enrolment import open_member
from roughfed.wire.member_list import decode_list, decode_signed
from roughfed.wire.session import (
    HEADER_DOMAIN,
    decode_client_message,
    decode_get_model,
    encode_header,
    encode_server_message,
    job_digest,
)
from roughfed.wire.updates import (
    RECEIPT_DOMAIN,
    decode_statement,
    encode_receipt,
    encode_update_status,
    receipt_body,
)

Context = grpc.aio.ServicerContext[Any, Any]
Flat = NDArray[np.float32]
T = TypeVar("T")

SILENCE_S = 60.0
"""A client that has said nothing to an attack for so long will not. Who refuses says so at once; this is for machines
with much else to do."""

DEADLINE_S = 120.0
CHUNK_BYTES = 1 << 20


class AttackRefused(Exception):
    """A client did not do what the attack needs."""

    def __init__(self, name: str, reason: str, detail: str = "") -> None:
        """`reason`: its own word, "gone" (it ended), or "silent"."""
        super().__init__(f"{name}: {detail or reason}")
        self.name, self.reason, self.detail = name, reason, detail


@dataclass(frozen=True, slots=True)
class Opened:
    """A round: its signed header, and what follows from it."""

    header: RoundHeader
    signed: Signed
    masking: Masking | None
    nonce: bytes

    @property
    def secret(self) -> Masking:
        """Of a masked round."""
        if self.masking is None:
            raise AssertionError("the round is not masked")
        return self.masking


@dataclass(slots=True)
class ClientLine:
    """What there is between the server and one client."""

    member: bytes = b""
    queue: asyncio.Queue[ServerMessage | None] = field(default_factory=asyncio.Queue[ServerMessage | None])
    heard: list[ClientMessage] = field(default_factory=list[ClientMessage])
    open: bool = False
    gone: str = ""


class ActiveServer:
    """The server of one federation.

    Attributes:
        run: as it calls its run now.
        sees: what it says that it sees.
        rounds: of the run, as it says.
        round: number of the last round.
        models: parameters by digest; what clients may download.
        uploads: (client, digest of the header) -> signed statement and bytes.
        listed: the signed list of members.
    """

    def __init__(self, papers: Papers, spec: Spec) -> None:
        """Nothing is open yet."""
        self._papers, self._spec = papers, spec
        self.run, self.sees, self.rounds, self.round = "run-a", "sketches", 100, 0
        self.models: dict[bytes, bytes] = {}
        self.uploads: dict[tuple[str, bytes], tuple[Signed, bytes]] = {}
        self.listed = b""
        self._lines: dict[str, ClientLine] = {}
        self._news = asyncio.Condition()
        self._last = bytes(32)
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Session": grpc.stream_stream_rpc_method_handler(self._session),
            "GetModel": grpc.unary_stream_rpc_method_handler(self._get_model),
            "PutUpdate": grpc.stream_unary_rpc_method_handler(self._put_update),
            "GetMembers": grpc.unary_unary_rpc_method_handler(self._get_members),
            "UpdateStatus": grpc.unary_unary_rpc_method_handler(self._update_status),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def listen(self) -> int:
        """Open the port; returns its number."""
        mine = self._papers
        pairs = [(mine.tls_key, mine.certificate)]
        credentials = grpc.ssl_server_credentials(pairs, mine.ca_certificate, require_client_auth=True)
        port = self._server.add_secure_port("127.0.0.1:0", credentials)
        await self._server.start()
        return port

    async def close(self) -> None:
        """End all calls."""
        for line in self._lines.values():
            line.queue.put_nowait(None)
        await self._server.stop(0.2)

    # -- what an attack does ------------------------------------------------------------------------------------------

    @property
    def key(self) -> bytes:
        """Ed25519 key under which it signs."""
        return self._papers.identity.public_key

    def sign(self, domain: bytes, body: bytes) -> bytes:
        """Ed25519, as a server."""
        return self._papers.identity.sign(domain, body)

    def open_member(self, entry: bytes) -> tuple[str, bytes]:
        """Name and Ed25519 key of a roster entry."""
        found = open_member(entry, self._papers.ca_certificate)
        return found.name, found.identity_key

    def member(self, name: str) -> bytes:
        """A client's roster entry, as its hello had it."""
        return self._lines[name].member

    def open(
        self,
        params: Flat,
        clients: int,
        *,
        clip_norm: float = 1.0,
        lanes: Lanes | None = None,
        skip: int = 0,
        **fields: Any,
    ) -> Opened:
        """Sign the header of the next round.

        Args:
            params: the model, float32 [D].
            clients: how many are asked; the lanes hold their sum.
            clip_norm: C.
            lanes: others than an honest server would choose.
            skip: round numbers that are left out before it.
            fields: of the header, that win.
        """
        data = params.astype("<f4").tobytes()
        digest, nonce = content_digest(data), os.urandom(32)
        self.models[digest] = data
        self.round += 1 + skip
        said: dict[str, Any] = {
            "run": self.run,
            "round": self.round,
            "model_digest": digest,
            "model_version": self.round,
            "spec_digest": self._spec.digest,
            "previous_header_digest": self._last,
            "codec": "identity",
            "server_sees": self.sees,
            "roster_root": bytes(32),
            "deadline_s": DEADLINE_S,
            "job_digest": job_digest({}, evaluate=False),
        }
        if self.sees != "updates":
            chosen = lanes or plan_lanes(clients)
            listed = decode_list(decode_signed(self.listed)[0])
            said |= {
                "codec": CHAIN,
                "levels": chosen.levels,
                "lane_bits": chosen.bits,
                "keep_one_in": 1,
                "clip_norm": clip_norm,
                "nonce_commitment": hashlib.sha256(nonce).digest(),
                "sketch_dim": 128 if self.sees == "sketches" else 0,
                "epoch_round": self.round,
                "members_number": listed.number,
                "members_digest": listed.digest,
            }
        header = RoundHeader(**(said | fields))
        body = encode_header(header)
        signed = Signed(body, self.sign(HEADER_DOMAIN, body), self._papers.name)
        self._last = signed.digest
        masking = None
        if header.masked:
            masking = maskings_of(signed, header, spec=self._spec, server_key=self.key)[0]
        return Opened(header, signed, masking, nonce)

    def ask(self, names: Iterable[str], opened: Opened, *, seed: int = 1) -> None:
        """Give these clients the job of a round, all with one seed."""
        size = self._spec.size_bytes
        for name in names:
            job = Job(opened.signed, {}, seed, evaluate=False, train=True, model_bytes=size, seconds_left=DEADLINE_S)
            self.send(name, job)

    def end(self, names: Iterable[str], opened: Opened, verdict: str = "excluded") -> None:
        """Tell these clients that the round is over, without a new model."""
        header = opened.header
        for name in names:
            self.send(
                name, RoundClosed(header.round, "abandoned", header.model_version, header.model_digest, verdict, "x")
            )

    def send(self, name: str, message: ServerMessage) -> None:
        """Say something to one client."""
        self._lines[name].queue.put_nowait(message)

    async def greet_again(self, names: Iterable[str]) -> None:
        """Make these clients come back, to another welcome.

        Raises:
            Refused: one of them does not.
        """
        for name in (named := list(names)):
            self._lines[name].open = False
            self.send(name, Reconnect(0.0, "restart"))
        await self.joined(named)

    async def joined(self, names: Iterable[str]) -> None:
        """Wait until these clients are here.

        Raises:
            Refused: one of them does not come.
        """
        for name in names:
            self._lines.setdefault(name, ClientLine())
            await self._until(name, lambda line: line.open or None)

    async def next(self, name: str, kind: str) -> Signed:
        """The next stage of a kind from a client, in order.

        Raises:
            Refused: it refused the round, has ended, or is silent.
        """
        found = await self._take(name, lambda m: m.signed if isinstance(m, ClientStage) and m.kind == kind else None)
        return Signed(found.body, found.signature, name)

    async def choice(self, name: str, number: int) -> Choice:
        """The answer to a question.

        Raises:
            Refused: it does not choose, has ended, or is silent.
        """
        found = await self._take(name, lambda m: m if isinstance(m, Choice) and m.number in (number, 0) else None)
        if not found.place:
            raise AttackRefused(name, found.reason)
        return found

    async def upload(self, name: str, opened: Opened) -> tuple[Signed, bytes]:
        """The statement and the bytes of a client's update.

        Raises:
            Refused: none comes.
        """

        def there(line: ClientLine) -> tuple[Signed, bytes] | None:
            _refusal(name, line, opened.header.round)
            return self.uploads.get((name, opened.signed.digest))

        return await self._until(name, there)

    async def refusal(self, name: str, opened: Opened) -> AttackRefused | None:
        """What a client said against a round; None when it took part in it to the end of an attack's patience."""
        try:
            await self._until(name, lambda line: _refusal(name, line, opened.header.round))
        except AttackRefused as refused:
            return None if refused.reason == "silent" else refused
        return None

    def gone(self, name: str, why: str) -> None:
        """A client has ended: nobody need wait for it."""
        self._lines.setdefault(name, ClientLine()).gone = why or "it ended"
        self._tell()

    # -- waiting ------------------------------------------------------------------------------------------------------

    async def _take(self, name: str, wanted: Callable[[ClientMessage], T | None]) -> T:
        def there(line: ClientLine) -> T | None:
            for at, message in enumerate(line.heard):
                if (found := wanted(message)) is not None:
                    del line.heard[at]
                    return found
            _refusal(name, line, self.round)
            return None

        return await self._until(name, there)

    async def _until(self, name: str, there: Callable[[ClientLine], T | None]) -> T:
        line = self._lines[name]
        try:
            async with asyncio.timeout(SILENCE_S), self._news:
                while (found := there(line)) is None:
                    if line.gone:
                        raise AttackRefused(name, "gone", line.gone)
                    await self._news.wait()
        except TimeoutError:
            raise AttackRefused(name, "silent") from None
        return found

    def _tell(self) -> None:
        async def tell() -> None:
            async with self._news:
                self._news.notify_all()

        self._telling = asyncio.ensure_future(tell())

    # -- the four methods ---------------------------------------------------------------------------------------------

    async def _session(self, requests: AsyncIterator[bytes], _: Context) -> AsyncIterator[bytes]:
        hello = decode_client_message(await anext(aiter(requests)))
        if not isinstance(hello, Hello):
            return
        line = self._lines.setdefault(self.open_member(hello.member)[0], ClientLine())
        line.member, line.queue = hello.member, asyncio.Queue()
        reading = asyncio.ensure_future(self._read(line, requests))
        try:
            yield encode_server_message(self._welcome())
            line.open = True
            self._tell()
            while (message := await line.queue.get()) is not None:
                yield encode_server_message(message)
                if isinstance(message, Reconnect):
                    return
        finally:
            reading.cancel()

    async def _read(self, line: ClientLine, requests: AsyncIterator[bytes]) -> None:
        async for raw in requests:
            line.heard.append(decode_client_message(raw))
            self._tell()

    def _welcome(self) -> Welcome:
        member, spec = self._papers.member, self._spec
        return Welcome(__version__, PROTOCOL, self.run, spec, member, self.sees, "classification", self.rounds)

    async def _get_model(self, request: bytes, _: Context) -> AsyncIterator[bytes]:
        digest, offset, _base = decode_get_model(request)
        data = self.models[digest]
        for at in range(offset, len(data), CHUNK_BYTES):
            yield encode_chunk(at, data[at : at + CHUNK_BYTES])

    async def _put_update(self, requests: AsyncIterator[bytes], _: Context) -> bytes:
        data, signed = bytearray(), None
        async for raw in requests:
            chunk = decode_chunk(raw)
            signed = signed or chunk.update
            data += chunk.data
        if signed is None:
            raise AssertionError("an upload without a statement")
        said = decode_statement(signed.body)
        statement = Signed(signed.body, signed.signature, said.client)
        self.uploads[said.client, said.header_digest] = (statement, bytes(data))
        self._tell()
        receipt = Receipt(said.run, said.round, said.client, said.digest, len(data), b"")
        signature = self.sign(RECEIPT_DOMAIN, receipt_body(receipt))
        return encode_receipt(Receipt(said.run, said.round, said.client, said.digest, len(data), signature))

    async def _get_members(self, _request: bytes, _: Context) -> bytes:
        return self.listed

    async def _update_status(self, _request: bytes, _: Context) -> bytes:
        return encode_update_status(0, None)


def _refusal(name: str, line: ClientLine, number: int) -> None:
    """Raise what a client has said against a round, if it has."""
    for message in line.heard:
        if isinstance(message, JobUpdate) and message.round == number:
            raise AttackRefused(name, message.reason, message.detail)
