"""When is a round full? A machine without I/O: events and the time go in, a decision comes out (steps 7 and 8).

The round engine owns the clock and the timer. With the secure modes this is also where commitments, sketches
and sets are driven; with `server_sees = "updates"` an update is its own commitment. How long the rest is waited for
once the quorum is there follows from how earlier rounds went (`roughfed.server.cohort.response_times`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from roughfed.server.cohort.response_times import NO_PATIENCE, Patience

REJOIN_GRACE_S, LONGEST_GRACE_S = 2.0, 15.0
"""A client that is gone this long is not waited for once the quorum is there. A lost stream is seen at once and a
reconnect takes well under a second, but several on a long line that others fill: where a round has taken long, there is
more time for it, a quarter of that."""


def rejoin_grace(elapsed_s: float) -> float:
    """Seconds for which a client whose stream breaks so long after the round was opened is waited for."""
    return min(LONGEST_GRACE_S, max(REJOIN_GRACE_S, elapsed_s / 4))


LEFT_BEHIND = "the rest is left behind"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and why; `until` is when to ask again if nothing happens."""

    action: Literal["wait", "close", "abandon"]
    reason: str
    until: float = 0.0


@dataclass
class Collection:
    """The updates of one round as they come in. All times are monotonic seconds.

    Attributes:
        members: the cohort.
        goal: this many updates close the round at once.
        quorum: this many are enough at the deadline, or when nobody else can be waited for.
        deadline: when the round ends in any case.
        opened: when the jobs went out.
        patience: with those who are slower than the quorum.
        groups: of a masked round: members of each, and how many of their updates its sum needs.
        arrived: when updates came that this process saw coming.
        full_at: when the quorum was there.
        ended: the reason for which it closed.
    """

    members: frozenset[str]
    goal: int
    quorum: int
    deadline: float
    opened: float = 0.0
    patience: Patience = NO_PATIENCE
    groups: Sequence[tuple[frozenset[str], int]] = ()
    received: set[str] = field(default_factory=set[str])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    gone: dict[str, float] = field(default_factory=dict[str, float])
    arrived: dict[str, float] = field(default_factory=dict[str, float])
    full_at: float | None = None
    ended: str = ""

    def receive(self, client: str, now: float) -> None:
        """A receipt is journaled."""
        if client not in self.members or client in self.received:
            return
        self.received.add(client)
        self.arrived[client] = now
        if self.full_at is None and len(self.received) >= self.quorum:
            self.full_at = now

    def refuse(self, client: str, reason: str) -> None:
        """The client will not contribute: its update was refused, or it refused or failed its job."""
        if client in self.members and client not in self.received:
            self.refused.setdefault(client, reason)

    def lost(self, clients: Iterable[str], now: float, *, grace: float | None = None) -> None:
        """Their streams broke; they are waited for until now + grace (None: what befits the round)."""
        until = now + (rejoin_grace(now - self.opened) if grace is None else grace)
        for client in clients:
            self.gone.setdefault(client, until)

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
        waited_for = {client: self.waits_for(client) for client in pending}
        if enough and max(waited_for.values()) <= now:
            return Decision("close", LEFT_BEHIND if pending - self.gone.keys() else "the rest is gone")
        ahead = [moment for moment in waited_for.values() if moment > now]
        return Decision("wait", f"{len(pending)} pending", min([self.deadline, *ahead]))

    def waits_for(self, client: str) -> float:
        """Until when a pending member is waited for if the quorum is there without it."""
        until = self.gone.get(client, self.deadline)
        if self.full_at is None or not self.patience.factor:
            return until
        times = self.patience.longest if self._needed(client) else self.patience.times(client)
        return min(until, self.opened + self.patience.seconds(self.full_at - self.opened, times))

    def _needed(self, client: str) -> bool:
        """Whether its group's sum would be void if the round closed now."""
        return any(client in group and len(self.received & group) < least for group, least in self.groups)
