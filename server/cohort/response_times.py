"""How long clients take, in units of the time in which a round's quorum is there; so who is waited for, and how long.

A round that waits for everybody is as slow as its slowest client. One that goes on as soon as the quorum is there never
hears of clients that are a little slower, whose data then do not count. In between: once the quorum is there, the rest
has `round.patience` times as long as it took. Who is known to take longer, but not more than three times as long, has
patience times its own usual time; and who is not known, three times the quorum's. A client that is slower still costs
one round three times the quorum's time, and every other one patience times.

Pure: no clock. Kept in memory; after a restart nobody is known.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median_low
from types import MappingProxyType
from typing import Protocol

STRETCH = 3.0
"""A client that needs more than so many times the quorum's time is a straggler."""

FLOOR_S = 5.0
"""No round is cut before: where a round is shorter, what makes a client late is chance."""

REMEMBERED = 5
"""Rounds that count, of a client and of all."""

GUESS = 1.5
"""A client that was left behind would have come after so many times the time that it had, as far as is known."""


class RoundObservation(Protocol):
    """What is learnt of a round (`roughfed.server.cohort.collection.Collection`)."""

    @property
    def opened(self) -> float:
        """When its jobs went out."""
        ...

    @property
    def full_at(self) -> float | None:
        """When its quorum was there."""
        ...

    @property
    def arrived(self) -> Mapping[str, float]:
        """When updates came."""
        ...

    @property
    def gone(self) -> Mapping[str, float]:
        """Who was away."""
        ...

    def pending(self) -> frozenset[str]:
        """From whom nothing came."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a round waits for the rest.

    Attributes:
        factor: `round.patience`, times the quorum's time; 0 waits until the deadline.
        usual_s: the time in which the quorum was there in earlier rounds; 0 where that is not known.
        known: client -> how many times the quorum's time it takes, 1 to `STRETCH`; 1 for stragglers, too.
    """

    factor: float = 0.0
    usual_s: float = 0.0
    known: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def times(self, client: str) -> float:
        """How many times the quorum's time a client may take."""
        return self.factor * self.known[client] if client in self.known else self.longest

    @property
    def longest(self) -> float:
        """How many times the quorum's time anybody may take."""
        return max(STRETCH, self.factor)

    def seconds(self, took_s: float, times: float) -> float:
        """How long that is, in a round whose quorum was there after `took_s`.

        A round that is faster than usual does not cut those who are as they always are.
        """
        return max(FLOOR_S, max(took_s, self.usual_s) * min(times, self.longest))


NO_PATIENCE = Patience()


class Habits:
    """What earlier rounds showed."""

    def __init__(self) -> None:
        """Nobody is known."""
        self._took: deque[float] = deque(maxlen=REMEMBERED)
        self._times: dict[str, deque[float]] = {}

    def patience(self, factor: float) -> Patience:
        """For the next round."""
        usual_s = median_low(self._took) if len(self._took) > 1 else 0.0  # the first one waits for caches and kernels
        return Patience(factor, usual_s, {client: self._usual(client) for client in self._times})

    def note(self, played: RoundObservation, now: float) -> None:
        """A round closed at `now`. One without a quorum says nothing, nor does one that was over in no time."""
        if played.full_at is None or (took := played.full_at - played.opened) <= 0:
            return
        self._took.append(took)
        for client, at in played.arrived.items():
            self._remember(client, (at - played.opened) / took)
        for client in played.pending() - played.gone.keys():
            self._remember(client, self._guess(client, (now - played.opened) / took))

    def _guess(self, client: str, had: float) -> float:
        straggler = client in self._times and self._late(client)
        return math.inf if straggler else GUESS * had

    def _remember(self, client: str, times: float) -> None:
        self._times.setdefault(client, deque(maxlen=REMEMBERED)).append(times)

    def _late(self, client: str) -> bool:
        """In half of the rounds: a first round that waits for caches makes stragglers look like the rest."""
        return 2 * sum(times > STRETCH for times in self._times[client]) >= len(self._times[client])

    def _usual(self, client: str) -> float:
        """The longest that it took in the rounds that it was in time for; 1 for a straggler."""
        if self._late(client):
            return 1.0
        return max(1.0, *(times for times in self._times[client] if times <= STRETCH))
