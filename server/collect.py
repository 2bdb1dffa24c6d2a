"""When is a round full? A machine without I/O: events and the time go in, a decision comes out (steps 7 and 8).

The adapter (`round.py`) owns the clock and the timer. With the secure modes this is also where commitments, sketches
and sets are driven; with `server_sees = "updates"` an update is its own commitment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

REJOIN_GRACE_S = 2.0
"""A client that is gone this long is not waited for once the quorum is there: a lost stream is seen at once, a
reconnect takes well under a second."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and why; `until` is when to ask again if nothing happens."""

    action: Literal["wait", "close", "abandon"]
    reason: str
    until: float = 0.0


@dataclass
class Collection:
    """The updates of one round as they come in.

    Attributes:
        members: the cohort.
        goal: this many updates close the round at once.
        quorum: this many are enough at the deadline, or when nobody else can be waited for.
        deadline: monotonic seconds.
    """

    members: frozenset[str]
    goal: int
    quorum: int
    deadline: float
    received: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)

    def receive(self, client: str) -> None:
        """A receipt is journaled."""
        if client in self.members:
            self.received.add(client)

    def refuse(self, client: str, reason: str) -> None:
        """The client will not contribute: its update was refused, or it refused or failed its job."""
        if client in self.members and client not in self.received:
            self.refused.setdefault(client, reason)

    def lost(self, clients: Iterable[str], now: float, *, grace: float = REJOIN_GRACE_S) -> None:
        """Their streams broke; they are waited for until now + grace."""
        for client in clients:
            self.gone.setdefault(client, now + grace)

    def back(self, client: str) -> None:
        """It is connected (again)."""
        self.gone.pop(client, None)

    def pending(self) -> frozenset[str]:
        """Members whose update may still come."""
        return self.members - self.received - self.refused.keys()

    def decide(self, now: float) -> Decision:
        """Go on waiting, close with what is here, or give the round up."""
        enough = len(self.received) >= self.quorum  # a quorum given as a number may lie above the goal
        if enough and len(self.received) >= self.goal:
            return Decision("close", "goal")
        pending = self.pending()
        if len(self.received) + len(pending) < self.quorum:
            return Decision("abandon", "too-few-updates")  # whatever may still come
        if not pending:
            return Decision("close", "everyone answered")
        if now >= self.deadline:
            return Decision("close", "deadline") if enough else Decision("abandon", "deadline")
        waited_for = [self.gone.get(client, self.deadline) for client in pending]
        if enough and max(waited_for) <= now:
            return Decision("close", "the rest is gone")
        ahead = [moment for moment in waited_for if moment > now]
        return Decision("wait", f"{len(pending)} pending", min([self.deadline, *ahead]))
