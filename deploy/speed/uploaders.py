"""`python -m roughfed.deploy.speed.uploaders`: one process of many clients that upload when they are told to.

Each has its own certificate, connection and session, takes its job, and uploads the same vector under a statement of
its own, by the code of the agent (`roughfed.client.connection.rpc.Connection`): what is left out is downloading and
training.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from roughfed import __version__
from roughfed.client.connection.rpc import SERVICE, Connection
from roughfed.crypto.identity import IdentityKey
from roughfed.deploy.speed.crowd import READY, ClientTicket, channel, read_tickets, spoken
from roughfed.deploy.synthetic import pieces
from roughfed.errors import LocalProtocolError
from roughfed.messages import PROTOCOL, ClientMessage, Finished, Hello, JobUpdate
from roughfed.params import digest_file
from roughfed.types import Job, Signed, UpdateStatement
from roughfed.wire.chunks import encode_chunk
from roughfed.wire.session import decode_header
from roughfed.wire.updates import UPDATE_DOMAIN, encode_statement


class BenchConnection(Connection):
    """The agent's connection, with a ticket for papers."""

    def __init__(self, ticket: ClientTicket, port: int) -> None:
        """Open the channel."""
        self._channel = channel(ticket, port)
        self._session = self._channel.stream_stream(f"{SERVICE}/Session")
        self._put_update = self._channel.stream_unary(f"{SERVICE}/PutUpdate")

    def begin(self, signed: Signed) -> Any:
        """Ask for a turn, and say nothing more; the call."""

        async def chunks() -> AsyncIterator[bytes]:
            yield encode_chunk(0, b"", signed)
            await asyncio.Event().wait()

        return self._put_update(chunks())


class Uploader:
    """One client.

    Attributes:
        line: its connection.
        job: what it was asked for.
        seconds: from the word to go to its receipt.
    """

    def __init__(self, ticket: ClientTicket, port: int, *, uploads: bool = True) -> None:
        """Nothing is sent yet; one that does not upload refuses its job."""
        self._ticket, self.line, self._uploads = ticket, BenchConnection(ticket, port), uploads
        self._ready = asyncio.Event()
        self.job: Job | None = None
        self.seconds = 0.0

    async def hold(self) -> None:
        """Say hello, take the job, and stay until the run is over."""
        outbox: asyncio.Queue[ClientMessage] = asyncio.Queue()
        member = bytes.fromhex(self._ticket.member)
        outbox.put_nowait(Hello(__version__, PROTOCOL, member, b"", ("identity",), "cpu"))

        async for message in self.line.session(spoken(outbox)):
            if isinstance(message, Job):
                self.job = message
                if not self._uploads:
                    number = decode_header(message.header.body).round
                    outbox.put_nowait(JobUpdate(number, "refused", "bench", "this client only looks on"))
                self._ready.set()
            elif isinstance(message, Finished):
                break
        await self.line.close()

    async def asked(self) -> None:
        """Its job has come."""
        await self._ready.wait()

    def signed(self, digest: bytes, size_bytes: int) -> Signed:
        """The statement about an update of the job.

        Raises:
            LocalProtocolError: there is no job yet.
        """
        if self.job is None:
            raise LocalProtocolError("an update without a job: wait for `asked`")
        header = decode_header(self.job.header.body)
        statement = UpdateStatement(
            run=header.run,
            round=header.round,
            client=self._ticket.name,
            header_digest=self.job.header.digest,
            digest=digest,
            size_bytes=size_bytes,
            num_examples=1,
        )
        body = encode_statement(statement)
        key = IdentityKey.from_private_bytes(bytes.fromhex(self._ticket.identity))
        return Signed(body, key.sign(UPDATE_DOMAIN, body), self._ticket.name)

    async def upload(self, path: Path, digest: bytes, size_bytes: int) -> None:
        """Send the file. An agent tries again; here, a failure is a failure."""
        signed, began = self.signed(digest, size_bytes), time.perf_counter()
        await self.line.put_update(signed, path, at=0, on_bytes=lambda _: None)
        self.seconds = time.perf_counter() - began


async def main(tickets: Sequence[ClientTicket], port: int, *, params: int, folder: Path, before: str) -> None:
    """Connect, take the jobs, say so; upload at a line on standard input, and tell the seconds of each.

    Args:
        tickets: of all.
        port: of the federation.
        params: D.
        folder: for the update.
        before: clients whose names come before this one upload.
    """
    path = folder / f"update-{os.getpid()}"
    with path.open("wb") as file:
        for piece in pieces(params, seed=1):
            file.write(piece.data)
    digest = await asyncio.to_thread(digest_file, path)
    clients = [Uploader(ticket, port, uploads=ticket.name < before) for ticket in tickets]
    uploading = [client for ticket, client in zip(tickets, clients, strict=True) if ticket.name < before]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.hold())
        await asyncio.gather(*(client.asked() for client in clients))
        print(READY, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(client.upload(path, digest, 4 * params) for client in uploading))
        print(json.dumps([client.seconds for client in uploading]), flush=True)


if __name__ == "__main__":
    found, where, size, place, end = sys.argv[1:]
    asyncio.run(main(read_tickets(Path(found)), int(where), params=int(size), folder=Path(place), before=end))
