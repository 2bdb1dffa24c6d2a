"""What the client's code stands on: its process, the session with the server, and the job that it does.

Each of the three lives as long as its name says. Whoever does a step of a round gets the `RoundTask`, and finds the
other two in it; nothing here has any logic.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from roughfed.client.connection.rpc import Connection
from roughfed.client.disclosure.record import DisclosureRecord
from roughfed.client.local.trainer_process import LocalTrainer
from roughfed.client.members.credential_files import Credentials
from roughfed.client.metrics import ClientMetrics
from roughfed.client.policy import Rules
from roughfed.client.storage.store import ClientStore
from roughfed.crypto.member_list import MemberList
from roughfed.errors import LocalProtocolError
from roughfed.messages import ClientMessage, ServerStage, Welcome
from roughfed.secagg.client import ClientRound
from roughfed.trainer_client import Description
from roughfed.types import Job, RoundHeader

Inbox = asyncio.Queue[ServerStage | Literal["again"] | None]
"""Of a masked round: the server's stages; "again": the server, back after a break, has sent the job once more; None:
the round is over."""


def fresh_secret(_header_digest: bytes) -> bytes:
    """32 bytes of the operating system."""
    return os.urandom(32)


async def ignore_header(_header: RoundHeader) -> None:
    """Nobody wants to know of headers."""


@dataclass(slots=True)
class ClientContext:
    """What lives as long as the client's process.

    Attributes:
        store: the state directory.
        trainer: who trains.
        description: of the owner's app.
        metrics: of this client.
        settings: the job's learning settings -> those that this client trains with.
        own_secret: of the state directory, 32 bytes.
        training_seed: job -> seed of its training.
        enter: told (phase, progress) for the heartbeat and the metrics.
        send: puts a message into the stream, whichever is open.
        round_secret: header digest -> the 32 secret bytes of a masked round; random, except in tests.
        machine: makes the machine of a masked round; another one only in hostile clients.
        on_trained: told (seconds, examples processed) of each local training.
        on_header: told each header that this client accepts, before anything is done for it.
        resumed: set when the server, after a reconnect, sends the job again that is under way.
        connected: set while the server knows that this client is here.
        channel: to the server; None before the first session, and replaced when there is a new certificate.
    """

    store: ClientStore
    trainer: LocalTrainer
    description: Description
    metrics: ClientMetrics
    settings: Callable[[Mapping[str, object]], dict[str, object]]
    own_secret: bytes
    training_seed: Callable[[Job], int]
    enter: Callable[[str, float], None]
    send: Callable[[ClientMessage], None]
    round_secret: Callable[[bytes], bytes] = fresh_secret
    machine: Callable[..., ClientRound] = ClientRound
    on_trained: Callable[[float, int], None] = lambda _seconds, _examples: None
    on_header: Callable[[RoundHeader], Awaitable[None]] = ignore_header
    resumed: asyncio.Event = field(default_factory=asyncio.Event)
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    channel: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The channel to the server.

        Raises:
            LocalProtocolError: there was no session yet.
        """
        if self.channel is None:
            raise LocalProtocolError("a transfer before a session")
        return self.channel


@dataclass(slots=True)
class SessionContext:
    """What the server's welcome gives, and what this client holds against it.

    Attributes:
        credentials: the client's own.
        welcome: the server's first message.
        server_key: Ed25519 key from the server's CA-signed roster entry.
        rules: the owner's, with the mode that this federation has seen least of.
        disclosed: what was shown of this client before, of this federation and this model.
        members: the list of members that the last masked round named.
    """

    credentials: Credentials
    welcome: Welcome
    server_key: bytes
    rules: Rules
    disclosed: DisclosureRecord
    members: MemberList | None = None

    @property
    def may_go_on(self) -> bool:
        """Whether the owner agreed to another run after this one."""
        return len({*self.disclosed.runs(), self.welcome.run}) < self.rules.runs


@dataclass(frozen=True, slots=True)
class RoundTask:
    """One job whose header this client has accepted.

    Attributes:
        ctx: of the process.
        session: in which the job came; a job outlives a session that breaks.
        job: as the server sent it.
        header: its header, decoded, as the client's tier reads it.
        ends_at: when the round ends (monotonic seconds); 0 = not known.
        inbox: what the server says during a masked round.
    """

    ctx: ClientContext
    session: SessionContext
    job: Job
    header: RoundHeader
    ends_at: float = 0.0
    inbox: Inbox = field(default_factory=asyncio.Queue)
