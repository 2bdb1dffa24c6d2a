"""The clients of a federation: who is connected, who is away, and who is not asked any more."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from roughfed.errors import IdentityError
from roughfed.messages import RENEW, Finished, Hello, Reconnect, ServerMessage
from roughfed.server.cohort.response_times import Habits
from roughfed.server.members.certificate_status import Callers
from roughfed.server.members.member_list import Listing
from roughfed.server.members.sessions import ClientSession
from roughfed.server.members.strikes import STRIKES
from roughfed.server.storage.proof import HeaderProof
from roughfed.server.trace.last_seen import LastSeen

SUPERSEDED_S = 30.0
"""What a client hears whose name has connected anew: if both are alive, the same client was started twice."""


class ClientRegistry:
    """The clients of one server, by name.

    Attributes:
        on_change: told (name, whether it is connected) when a client comes or goes.
        revoked: whose certificates are refused.
        quarantined: who is not asked -> why: proved liars, who was silent too often, and whom the operator holds.
        away: who took its leave -> when it will be back (Unix seconds).
        late_rounds: client -> rounds in a row in which it was late.
        habits: how long clients take.
        identity_keys: client -> Ed25519 key of its last session.
        to_renew: who is away and will be asked for a new key when it is back.
        callers: which certificates may call.
        seen: when clients left, and when their certificates end.
        listing: the member list that is in force.
        farewell: the end of the run, for whoever is here or comes back.
        said_farewell: who took it.
        cut: ends the calls of a client.
    """

    def __init__(self, listing: Listing) -> None:
        """Nobody is here."""
        self._sessions: dict[str, ClientSession] = {}
        self._ended = False
        self.on_change: Callable[[str, bool], None] = lambda _name, _here: None
        self.listing = listing
        self.callers, self.habits, self.seen = Callers(), Habits(), LastSeen()
        self.revoked: set[str] = set()
        self.quarantined: dict[str, str] = {}
        self.away: dict[str, float] = {}
        self.late_rounds: dict[str, int] = {}
        self.identity_keys: dict[str, bytes] = {}
        self.to_renew: set[str] = set()
        self.farewell: Finished | None = None
        self.said_farewell: set[str] = set()
        self.cut: Callable[[str], None] = lambda _: None

    def join(self, session: ClientSession) -> None:
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
        self.away.pop(session.name, None)
        self.identity_keys[session.name] = session.identity_key
        if session.name in self.to_renew:
            self.to_renew.discard(session.name)
            session.send(Reconnect(0.0, RENEW))
        self.on_change(session.name, True)
        if self._ended:
            session.close("ended")

    def end(self) -> None:
        """End every stream, and each that comes until the ports are closed: gRPC would cancel it with a trace."""
        self._ended = True
        for session in self.all():
            session.close("ended")

    def leave(self, session: ClientSession) -> None:
        """Its stream ended."""
        if self._sessions.get(session.name) is session:
            del self._sessions[session.name]
            self.seen.left(session.name)
            self.on_change(session.name, False)

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
        """Refuse from now on, and cut the live stream and every call."""
        self.callers.forget(name)
        self.cut(name)
        self.revoked.add(name)
        if (session := self._sessions.get(name)) is not None:
            session.close("revoked")
        self.seen.forget(name)  # last: a session that closes is noted as gone

    def strike(self, name: str) -> None:
        """Cut the live stream of who sent too much that was refused."""
        if (session := self._sessions.get(name)) is not None:
            session.close(STRIKES)

    def get(self, name: str) -> ClientSession | None:
        """The session of a client, if it is connected."""
        return self._sessions.get(name)

    def proofs(self) -> dict[str, HeaderProof]:
        """Client -> the newest header that it has seen, of those who have seen one."""
        return {session.name: session.proof for session in self.all() if session.proof is not None}

    def all(self) -> list[ClientSession]:
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

    def able(self) -> set[str]:
        """Who could be asked now."""
        return set(self.names()) - self.quarantined.keys() - self.revoked

    def states(self) -> dict[str, int]:
        """Number of connected clients, of those in each phase that they reported, and of those nobody waits for."""
        sessions, now = self.all(), time.time()
        away = sum(until > now and self.get(name) is None for name, until in self.away.items())
        known = {"connected": len(sessions), "away": away, "quarantined": len(self.quarantined)}
        return {**Counter(s.phase for s in sessions), **known}  # a phase is what a client says

    async def admit(self, client: str, certificate: bytes) -> None:
        """Turn away the revoked, and certificates that others have taken the place of (`Callers.check`).

        Raises:
            IdentityError: reason "revoked" or "outdated".
        """
        self.check(client)
        await self.callers.check(client, certificate)
        self.seen.certificate(client, certificate)
