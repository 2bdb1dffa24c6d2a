"""Who is connected. One `Session` for each live stream; whoever sends to a client puts a message into its queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from roughfed.errors import IdentityError
from roughfed.messages import OTHER, PHASES, Heartbeat, Hello, Machine, Reconnect, ServerMessage
from roughfed.server.strikes import STRIKES

if TYPE_CHECKING:
    from roughfed.server.rolled_back import Proof

MAX_WAITING = 64
"""Messages that may wait for one client: control only, a client that lets more pile up is gone."""


CUT_S = 0.5
"""A closed stream that its peer does not read to the end is cancelled after so long."""

SUPERSEDED_S = 30.0
"""What a client hears whose name has connected anew: if both are alive, the same client was started twice."""


@dataclass
class Session:
    """One connected client.

    Attributes:
        name: from its certificate.
        identity_key: Ed25519 public key from its CA-signed roster entry.
        member: digest of that roster entry.
        hello: what it said first.
        phase: what it last said it was doing.
        progress: 0 to 1 within the phase.
        proof: the newest header that it has seen of this run (`roughfed.server.rolled_back`).
        machine: what it last said of its machine.
        clock_skew_s: how far its clock is ahead of ours, by its last heartbeat; what a message takes is in it.
    """

    name: str
    identity_key: bytes
    member: bytes
    hello: Hello
    phase: str = "idle"
    progress: float = 0.0
    machine: Machine | None = None
    clock_skew_s: float | None = None
    connected_at: float = field(default_factory=time.time)
    last_seen: float = field(default_factory=time.monotonic)
    task: asyncio.Task[Any] | None = None
    on_close: Callable[[Session], None] = lambda _: None
    queue: asyncio.Queue[ServerMessage | None] = field(default_factory=lambda: asyncio.Queue(MAX_WAITING))
    close_reason: str = ""
    proof: Proof | None = None

    def hear(self, beat: Heartbeat, *, samples: bool) -> None:
        """Note a heartbeat; `samples`: whether how much it trained on may be known here (never behind masks).

        A client has no word for what the server finds out itself: that its update is here, refused or left out.
        """
        self.phase, self.progress = beat.phase if beat.phase in PHASES else OTHER, beat.progress
        if (machine := beat.machine) is not None:
            self.machine = machine if samples else replace(machine, samples=None)
            self.clock_skew_s = None if machine.time is None else machine.time - time.time()

    def send(self, message: ServerMessage) -> None:
        """Push a message; a client whose queue is full is cut."""
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            self.close("slow")

    def close(self, reason: str) -> None:
        """End the stream after what is queued (a full queue loses its oldest message).

        It no longer counts as connected from now on. A peer that does not read would keep it open: it is cut then.
        """
        if not self.close_reason:
            self.close_reason = reason
            self.on_close(self)
            if self.task is not None:
                asyncio.get_running_loop().call_later(CUT_S, self.task.cancel)
        if self.queue.full():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class Members:
    """The live sessions by name. `on_change(name, connected)` tells the round engine."""

    def __init__(self, on_change: Callable[[str, bool], None]) -> None:
        """Empty."""
        self._sessions: dict[str, Session] = {}
        self._on_change = on_change
        self._ended = False
        self.revoked: set[str] = set()

    def join(self, session: Session) -> None:
        """A client is here; an older stream of the same client is closed (it is half open).

        Raises:
            IdentityError: the client is revoked.
        """
        self.check(session.name)
        if (older := self._sessions.get(session.name)) is not None:
            older.send(Reconnect(SUPERSEDED_S, "superseded"))
            older.close("superseded")
        session.on_close = self.leave
        self._sessions[session.name] = session
        self._on_change(session.name, True)
        if self._ended:
            session.close("ended")

    def end(self) -> None:
        """End every stream, and each that comes until the ports are closed: gRPC would cancel it with a trace."""
        self._ended = True
        for session in self.all():
            session.close("ended")

    def leave(self, session: Session) -> None:
        """Its stream ended."""
        if self._sessions.get(session.name) is session:
            del self._sessions[session.name]
            self._on_change(session.name, False)

    def check(self, name: str) -> None:
        """Refuse the revoked.

        Raises:
            IdentityError: reason "revoked".
        """
        if name in self.revoked:
            raise IdentityError(
                f"{name} is revoked; ask the operator for an invite under another name", reason="revoked"
            )

    def revoke(self, name: str) -> None:
        """Refuse from now on, and cut the live stream."""
        self.revoked.add(name)
        if (session := self._sessions.get(name)) is not None:
            session.close("revoked")

    def strike(self, name: str) -> None:
        """Cut the live stream of who sent too much that was refused."""
        if (session := self._sessions.get(name)) is not None:
            session.close(STRIKES)

    def get(self, name: str) -> Session | None:
        """The session of a client, if it is connected."""
        return self._sessions.get(name)

    def all(self) -> list[Session]:
        """Every session, in order of the names."""
        return [self._sessions[name] for name in sorted(self._sessions)]

    def hellos(self, names: Iterable[str]) -> dict[str, Hello]:
        """What these clients said first, of those that are connected."""
        return {name: self._sessions[name].hello for name in names if name in self._sessions}

    def names(self) -> list[str]:
        """Names of the connected clients, sorted."""
        return sorted(self._sessions)

    def broadcast(self, message: ServerMessage) -> None:
        """Push to everybody."""
        for session in self.all():
            session.send(message)
