"""Whose transfer may run now? A machine without a clock: events and the time go in, who is let in comes out.

A transfer costs the server memory for as long as it runs, and the more the faster it is: what is on its way through
gRPC lies in buffers. So transfers are let in while the weights of those that run add up to less than a limit. A fast
one weighs 1, and `limit` of them fill the machine; a slow one weighs as much less as it is slower, so that many of them
run side by side, as their own lines are what they wait for. Who waits does so in the order of asking.

None waits for ever: a transfer that moves nothing ends by itself (`roughfed.transport.patience`), one that moves
little weighs little, and when nobody was let in for `PATIENCE_S`, the next one is. A client has one transfer at a time,
a newer one takes the place of the older; if it breaks off while it waits and is back soon, it has its old turn.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from math import exp

FULL_RATE = 2e6
"""Bytes a second of a transfer that weighs 1. Low on purpose: `limit` times this is where waiting begins at all, and it
must be less than what a busy machine can do, or its own slowness would look like that of the clients."""

LEAST = 1 / 16
"""What a transfer weighs at least: a slow one still holds a chunk."""

UNKNOWN_S = 1.0
"""For so long a transfer of a client whose rate is not known weighs 1."""

MEMORY_S = 4.0
"""A rate is that of the last seconds, about so many."""

PATIENCE_S = 60.0
"""When nobody was let in for so long, the next one is."""

KEEP_S = 120.0
"""For so long the turn of a client that broke off while it waited is kept."""

CREDIT = float(1 << 20)
"""Bytes of a chunk that may be on its way and are not counted yet."""


@dataclass(eq=False)
class TransferTicket:
    """One transfer of one client.

    Attributes:
        client: whose.
        since: since when it waits, turns that were kept included.
        number: tells apart who asked at the same time.
        began: when it was let in; None: it waits.
        over: it ended, or a newer one of the same client took its place.
    """

    client: str
    since: float
    number: int
    began: float | None = None
    over: bool = False
    known: bool = False
    _level: float = 0.0
    _at: float = 0.0

    def begin(self, now: float, rate: float | None) -> None:
        """Let it in; `rate` is what is known of the client."""
        self.began, self.known, self._at = now, rate is not None, now
        self._level = CREDIT / MEMORY_S if rate is None else rate

    def move(self, count: int, now: float) -> None:
        """So many bytes moved."""
        self._level = self._decayed(now) + count / MEMORY_S
        self._at = max(self._at, now)

    def rate(self, now: float) -> float:
        """Bytes a second, lately."""
        if self.known or self.began is None:
            return self._decayed(now)
        age = max(now - self.began, 1e-3)
        return self._decayed(now) / (1.0 - exp(-age / MEMORY_S))  # it began with nothing

    def seen(self, now: float) -> bool:
        """Whether its rate says something."""
        return self.known or (self.began is not None and now - self.began >= UNKNOWN_S)

    def _decayed(self, now: float) -> float:
        return self._level * exp(-max(0.0, now - self._at) / MEMORY_S)


@dataclass
class Pacing:
    """The transfers of one direction.

    Attributes:
        limit: sum of the weights that is filled up.
        running: client -> its transfer that was let in.
        waiting: the others, next one first.
    """

    limit: float
    running: dict[str, TransferTicket] = field(default_factory=dict[str, TransferTicket])
    waiting: list[tuple[float, int, TransferTicket]] = field(default_factory=list[tuple[float, int, TransferTicket]])
    _kept: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    _rates: dict[str, float] = field(default_factory=dict[str, float])
    _number: int = 0
    _last: float | None = None

    def ask(self, client: str, now: float, *, waits: bool = True) -> TransferTicket:
        """A transfer begins; one that does not wait is counted and let in at once."""
        since = self._turn(client, now)
        self._number += 1
        ticket = TransferTicket(client, since, self._number)
        if not waits:
            self._let_in(ticket, now)
            return ticket
        if not self.waiting:
            self._last = now  # patience is with those who wait
        insort(self.waiting, (since, self._number, ticket))
        return ticket

    def let_in(self, now: float) -> list[TransferTicket]:
        """Whose turn has come."""
        chosen: list[TransferTicket] = []
        load = self.load(now)
        while self.waiting and (load < self.limit or self._impatient(now)):
            ticket = self.waiting.pop(0)[2]
            self._let_in(ticket, now)
            chosen.append(ticket)
            load += self.weight(ticket, now)
        return chosen

    def moved(self, ticket: TransferTicket, count: int, now: float) -> None:
        """So many bytes of a transfer are through."""
        ticket.move(count, now)

    def leave(self, ticket: TransferTicket, now: float) -> None:
        """It ended, or broke off; its place is free. Leaving twice does nothing."""
        if ticket.over:
            return
        ticket.over = True
        if ticket.began is None:
            self.waiting.remove((ticket.since, ticket.number, ticket))
            self._keep(ticket, now)
        else:
            del self.running[ticket.client]
            if ticket.seen(now):
                self._rates[ticket.client] = ticket.rate(now)

    def weight(self, ticket: TransferTicket, now: float) -> float:
        """What a transfer counts, `LEAST` to 1."""
        return min(1.0, max(LEAST, ticket.rate(now) / FULL_RATE)) if ticket.seen(now) else 1.0

    def load(self, now: float) -> float:
        """The weights of those that run."""
        return sum(self.weight(ticket, now) for ticket in self.running.values())

    def _turn(self, client: str, now: float) -> float:
        """Since when the next transfer of a client waits; an older one of it is over."""
        older = self.running.get(client) or next((t for _, _, t in self.waiting if t.client == client), None)
        if older is not None:
            self.leave(older, now)
        since, until = self._kept.pop(client, (now, now))
        return since if until >= now else now

    def _keep(self, ticket: TransferTicket, now: float) -> None:
        if len(self._kept) > 2 * len(self.waiting) + 64:
            self._kept = {client: kept for client, kept in self._kept.items() if kept[1] >= now}
        self._kept[ticket.client] = (ticket.since, now + KEEP_S)

    def _let_in(self, ticket: TransferTicket, now: float) -> None:
        ticket.begin(now, self._rates.get(ticket.client))
        self.running[ticket.client] = ticket
        self._last = now

    def _impatient(self, now: float) -> bool:
        return self._last is not None and now - self._last >= PATIENCE_S
