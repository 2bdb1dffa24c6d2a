"""Events of the last minutes, counted in bounded memory: what the journal does not keep and a counter cannot date."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from typing import Generic, TypeVar, cast

T = TypeVar("T")

WINDOW_S = 600.0
COMMITS_S = 120.0
MOST = 2048


class RecentEvents(Generic[T]):
    """The newest events, with their times. Any thread may note one. Its places are there from the start."""

    def __init__(self, span_s: float = WINDOW_S, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing happened yet; `clock` in seconds that never go back."""
        self._span, self._clock = span_s, clock
        self._times = array("d", bytes(8 * MOST))
        self._events: list[T | None] = [None] * MOST
        self._count = 0
        self._lock = threading.Lock()

    def note(self, event: T) -> None:
        """It happened now."""
        with self._lock:
            place = self._count % MOST
            self._times[place], self._events[place] = self._clock(), event
            self._count += 1

    def all(self) -> list[T]:
        """What happened within the span, oldest first."""
        after = self._clock() - self._span
        with self._lock:
            places = [n % MOST for n in range(max(0, self._count - MOST), self._count)]
            return [cast("T", self._events[place]) for place in places if self._times[place] >= after]


class Recent:
    """What the alerts look at over minutes.

    Attributes:
        commits: seconds of the journal's commits.
        received: clients whose update is here.
        refused: (client, reason) of updates refused for good.
        transfers: of uploads and downloads that began: whether they went on from the middle.
        enrolments: why somebody was refused at the enrolment port.
        calls: gRPC status of each call that ended.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing happened yet."""
        self.commits = RecentEvents[float](COMMITS_S, clock=clock)
        self.received = RecentEvents[str](clock=clock)
        self.refused = RecentEvents[tuple[str, str]](clock=clock)
        self.transfers = RecentEvents[bool](clock=clock)
        self.enrolments = RecentEvents[str](clock=clock)
        self.calls = RecentEvents[str](clock=clock)
