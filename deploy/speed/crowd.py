"""`python -m roughfed.deploy.speed.crowd`: one process that holds the sessions of many clients.

Each client has its own certificate and its own connection, says hello, sends a heartbeat as an agent does, and refuses
every job that it gets after noting when it came: what is left is the cost of being connected and of pushing a job.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import grpc.aio

from roughfed import __version__
from roughfed.client.connection.rpc import SERVICE
from roughfed.client.outbox import HEARTBEAT_S
from roughfed.crypto import certificates, identity
from roughfed.crypto.certificates import SERVER_HOST
from roughfed.crypto.key_file import write_private
from roughfed.messages import PROTOCOL, ClientMessage, Finished, Heartbeat, Hello, JobUpdate, Welcome
from roughfed.server.members.authority import Authority
from roughfed.transport.options import CLIENT_OPTIONS
from roughfed.types import Job
from roughfed.wire.session import decode_header, decode_server_message, encode_client_message

READY = "ready"


@dataclass(frozen=True, slots=True)
class ClientTicket:
    """What one client shows: TLS key, certificate and the CA's (PEM), roster entry and identity key (hexadecimal)."""

    name: str
    tls_key: str
    certificate: str
    ca_certificate: str
    member: str
    identity: str


def enrol(authority: Authority, name: str) -> ClientTicket:
    """Make a client's keys and enrol it straight at the CA, without the enrolment port."""
    now, key = datetime.now(UTC), identity.IdentityKey.generate()
    tls_key = certificates.new_tls_key()
    token, request = authority.invite(name, now=now), certificates.new_request(tls_key)
    proof = key.sign(identity.ENROL_DOMAIN, identity.enrolment_body(token, request))
    given = authority.enroll(token, request, key.public_key, proof=proof, now=now)
    shown = (tls_key.decode(), given.certificate.decode(), given.ca_certificate.decode(), given.member.hex())
    return ClientTicket(name, *shown, key.private_bytes().hex())


def write_tickets(path: Path, tickets: Sequence[ClientTicket]) -> None:
    """For a crowd process to read; keys, so for its owner only."""
    write_private(path, json.dumps([asdict(ticket) for ticket in tickets]).encode())


def read_tickets(path: Path) -> list[ClientTicket]:
    """What `write_tickets` wrote."""
    return [ClientTicket(**fields) for fields in json.loads(path.read_text())]


def channel(ticket: ClientTicket, port: int) -> grpc.aio.Channel:
    """A connection of its own with this client's certificate."""
    credentials = grpc.ssl_channel_credentials(
        ticket.ca_certificate.encode(), ticket.tls_key.encode(), ticket.certificate.encode()
    )
    own = (("grpc.ssl_target_name_override", SERVER_HOST), ("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=(*CLIENT_OPTIONS, *own))


class ClientCrowd:
    """The clients of this process.

    Attributes:
        received: round -> when each client had its job, Unix seconds.
    """

    def __init__(self, expected: int) -> None:
        """Nobody is connected."""
        self.received: dict[int, list[float]] = {}
        self._missing = expected
        self.connected = asyncio.Event()

    async def hold(self, ticket: ClientTicket, port: int) -> None:
        """One client: stay until the run is over."""
        outbox: asyncio.Queue[ClientMessage] = asyncio.Queue()
        outbox.put_nowait(Hello(__version__, PROTOCOL, bytes.fromhex(ticket.member), b"", ("identity",), "cpu"))
        async with channel(ticket, port) as connection:
            session: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = connection.stream_stream(f"{SERVICE}/Session")
            async for raw in session(outgoing(outbox)):
                moment, message = time.time(), decode_server_message(raw)
                if isinstance(message, Welcome):
                    self._missing -= 1
                    if not self._missing:
                        self.connected.set()
                elif isinstance(message, Finished):
                    return
                elif isinstance(message, Job):
                    number = decode_header(message.header.body).round
                    self.received.setdefault(number, []).append(moment)
                    outbox.put_nowait(JobUpdate(number, "refused", "bench", "this client only takes jobs"))


async def spoken(outbox: asyncio.Queue[ClientMessage]) -> AsyncIterator[ClientMessage]:
    """What waits in the outbox, and a heartbeat when nothing does."""
    while True:
        try:
            message = await asyncio.wait_for(outbox.get(), HEARTBEAT_S)
        except TimeoutError:
            message = Heartbeat()
        yield message


async def outgoing(outbox: asyncio.Queue[ClientMessage]) -> AsyncIterator[bytes]:
    """The same as bytes."""
    async for message in spoken(outbox):
        yield encode_client_message(message)


async def main(tickets: Sequence[ClientTicket], port: int) -> None:
    """Connect everybody, say so, and tell what came in when standard input has a line or ends."""
    crowd = ClientCrowd(len(tickets))
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        holding = [group.create_task(crowd.hold(ticket, port)) for ticket in tickets]
        await crowd.connected.wait()
        print(READY, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(crowd.received), flush=True)
        for task in holding:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(read_tickets(Path(sys.argv[1])), int(sys.argv[2])))
