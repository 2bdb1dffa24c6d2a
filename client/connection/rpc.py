"""The client's side of the federation port: bytes become values here, gRPC's errors become ours."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from grpc.aio import (
    StreamStreamMultiCallable,
    StreamUnaryMultiCallable,
    UnaryStreamMultiCallable,
    UnaryUnaryMultiCallable,
)

from roughfed import crash
from roughfed.client.members.credential_files import Credentials
from roughfed.crypto.certificates import SERVER_HOST
from roughfed.errors import (
    Conflict,
    IdentityError,
    RemoteProtocolError,
    RoughfedError,
    StaleRound,
    TooLarge,
    Unreachable,
    VersionError,
)
from roughfed.files import disk_errors, write_at
from roughfed.messages import ClientMessage, ServerMessage, Welcome
from roughfed.transport import names
from roughfed.transport.options import CLIENT_OPTIONS
from roughfed.transport.patience import PROGRESS_S, TURN_S
from roughfed.types import Receipt, Signed
from roughfed.wire.chunks import chunk_length, decode_chunk, encode_chunk
from roughfed.wire.member_list import encode_get_members
from roughfed.wire.session import decode_server_message, encode_client_message, encode_get_model
from roughfed.wire.updates import decode_receipt, decode_update_status, encode_update_status_request

SERVICE = f"/{names.SERVICE}"
"""As the paths of gRPC's methods begin."""
RECEIPT_S = 120.0
FIRST_BYTES = 1 << 17
"""An upload that has no more goes with its statement: to wait for a turn would take longer than to send it."""
UPGRADE = "upgrade roughfed here to the server's version, then start the client again"


@dataclass(frozen=True, slots=True)
class Landing:
    """Where the payload of a download goes.

    Attributes:
        path: a file that is there.
        start: where the payload begins in it.
        on_written: told the file's descriptor and how many bytes of payload are in it, after each piece.
    """

    path: Path
    start: int = 0
    on_written: Callable[[int, int], None] | None = None


class Connection:
    """One channel to the federation port, with the client's certificate.

    Attributes:
        paced: the server says when a transfer's turn has come; known from its welcome.
        heard: something came from the server since the session was opened, or tried.
    """

    paced = heard = _careful = False

    def __init__(self, address: str, credentials: Credentials) -> None:
        """Open the channel; the handshake happens at the first call."""
        self.address, self.credentials = address, credentials
        channel_credentials = grpc.ssl_channel_credentials(
            credentials.ca_certificate, credentials.tls_key, credentials.certificate
        )
        options = (*CLIENT_OPTIONS, ("grpc.ssl_target_name_override", SERVER_HOST))
        self._channel = channel = grpc.aio.secure_channel(address, channel_credentials, options=options)
        self._session: StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"{SERVICE}/Session")
        self._get_model: UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"{SERVICE}/GetModel")
        self._put_update: StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(f"{SERVICE}/PutUpdate")
        self._update_status: UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}/UpdateStatus")
        self._get_members: UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}/GetMembers")

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def session(self, outgoing: AsyncIterator[ClientMessage]) -> AsyncIterator[ServerMessage]:
        """Open the control stream: what comes from the server, until it ends.

        Raises:
            Unreachable: try again; any other RoughfedError: the server refuses this client.
        """

        async def encoded() -> AsyncIterator[bytes]:
            async for message in outgoing:
                yield encode_client_message(message)

        self.heard = False
        call = self._session(encoded())
        try:
            with translated():
                async for raw in call:
                    self.heard = True
                    message = decode_server_message(raw)
                    if isinstance(message, Welcome):
                        self.paced = message.paced
                    yield message
        finally:
            call.cancel()

    async def fetch_model(
        self,
        digest: bytes,
        into: Landing,
        *,
        at: int,
        on_data: Callable[[memoryview], None],
        base: bytes = b"",
    ) -> int:
        """Write the parameters from byte `at` on into a file.

        Args:
            digest: of the wanted parameters.
            into: where they go.
            at: bytes of the payload that are there.
            on_data: told every piece; may refuse it.
            base: of the parameters that this client has: then the payload is what leads from these to the wanted ones.

        Returns:
            the number of bytes of payload in the file when the stream ended.

        Raises:
            RemoteProtocolError: a gap; or, reason "no-delta", nothing leads there from `base`.
            Unreachable: the stream broke (call again with the new offset).
        """
        with disk_errors("store the model"):
            fd = os.open(into.path, os.O_WRONLY)
        try:
            with self._cautioned(), translated():
                async with progress(TURN_S if self.paced else PROGRESS_S) as moved:
                    async for raw in self._get_model(encode_get_model(digest, at, base, waits=self.paced)):
                        chunk = decode_chunk(raw)
                        if chunk.offset != at:
                            raise RemoteProtocolError(f"chunk at byte {chunk.offset}, want {at}", reason="offset")
                        self.heard = True
                        on_data(chunk.data)
                        with disk_errors("store the model"):
                            write_at(fd, chunk.data, into.start + at)
                            at += len(chunk.data)
                            if into.on_written is not None:
                                into.on_written(fd, at)
                        moved()
        finally:
            os.close(fd)
        return at

    @contextmanager
    def _cautioned(self) -> Generator[None]:
        """Around a transfer; where one is cut, the later ones are careful (`chunk_length`)."""
        try:
            yield
        except Unreachable:
            self._careful = True
            raise
        self._careful = False

    async def update_status(self, run: str, number: int, digest: bytes) -> tuple[int, Receipt | None]:
        """How much of an update the server holds."""
        with translated():
            raw = await self._update_status(encode_update_status_request(run, number, digest), timeout=PROGRESS_S)
        return decode_update_status(raw)

    async def fetch_members(self, digest: bytes) -> bytes:
        """The list of members with this digest, a serialized SignedMemberList; nothing of it is verified."""
        with translated():
            return await self._get_members(encode_get_members(digest), timeout=PROGRESS_S)

    async def put_update(
        self, signed: Signed, path: Path, *, at: int, on_bytes: Callable[[int], None]
    ) -> tuple[Receipt, bytes]:
        """Upload a file from byte `at` on.

        Returns:
            the receipt, and its bytes.
        """
        with disk_errors("read the update"):
            fd = os.open(path, os.O_RDONLY)
        total = os.fstat(fd).st_size
        try:
            with self._cautioned(), translated():
                async with progress(PROGRESS_S) as moved:
                    paced = self.paced  # a welcome that comes between two looks at it would make this wait for nothing

                    async def chunks() -> AsyncIterator[bytes]:
                        waits = paced and total - at > FIRST_BYTES
                        length = 0 if waits else chunk_length(at, start=at, careful=self._careful)
                        first = os.pread(fd, min(length, FIRST_BYTES), at)
                        moved(TURN_S if waits else PROGRESS_S)
                        yield encode_chunk(at, first, signed)
                        # What is sent before its turn would lie in the server's memory.
                        if waits and all(key != names.GO for key, _ in await call.initial_metadata()):
                            await call.code()  # refused: what is written now would hide why
                            return
                        self.heard = True
                        offset = at + len(first)
                        on_bytes(len(first))
                        while offset < total:
                            if offset > at:
                                crash.point("upload-cut")
                            moved()
                            piece = os.pread(fd, chunk_length(offset, start=at, careful=self._careful), offset)
                            yield encode_chunk(offset, piece)
                            offset += len(piece)
                            on_bytes(len(piece))
                        moved(RECEIPT_S)

                    call = self._put_update(chunks())
                    raw = await call
        finally:
            os.close(fd)
        return decode_receipt(raw), raw


@asynccontextmanager
async def progress(patience_s: float) -> AsyncGenerator[Callable[..., None]]:
    """A deadline that every call of `moved()` pushes back.

    Raises:
        Unreachable: nothing moved for so long.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(patience_s) as limit:

            def moved(seconds: float = patience_s) -> None:
                limit.reschedule(loop.time() + seconds)

            yield moved
    except TimeoutError:
        raise Unreachable(f"no progress for {patience_s:.0f} s") from None


class translated:  # noqa: N801  reads as a verb in `with translated():`
    """Turn gRPC's errors into ours."""

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Translate."""
        if isinstance(error, grpc.aio.AioRpcError):
            raise translate(error) from None
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling():
            raise Unreachable("the connection was closed") from None  # gRPC ends its calls so; nobody ended this task


def translate(error: grpc.aio.AioRpcError) -> RoughfedError:
    """What a failed call means for this client."""
    return meaning(error.code().name, error.details() or "", names.reason_of(error.trailing_metadata()))


def meaning(status: str, details: str, reason: str) -> RoughfedError:
    """What a refusal means for this client: the name of gRPC's status, the sentence, and the server's reason."""
    if reason in names.PASSING:
        return Unreachable(details)  # the server's trouble, or ours a moment ago: it passes
    match status:
        case "PERMISSION_DENIED" | "UNAUTHENTICATED":
            return IdentityError(details, reason=reason or "identity")
        case "FAILED_PRECONDITION":
            return StaleRound(details, reason=reason or "stale")
        case "ALREADY_EXISTS":
            return Conflict(details)
        case "RESOURCE_EXHAUSTED":
            return TooLarge(details, reason=reason or "size")
        case "INVALID_ARGUMENT" if reason == "version":
            return VersionError(details, cure=UPGRADE)
        case "INVALID_ARGUMENT":
            return RemoteProtocolError(details, reason=reason or "protocol")
        case _:
            return Unreachable(f"{status}: {details}")
