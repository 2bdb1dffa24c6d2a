"""Events of the last minutes, counted in bounded memory: what the journal does not keep and a counter cannot date."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

WINDOW_S = 600.0
COMMITS_S = 120.0
MOST = 2048


class Window(Generic[T]):
    """The newest events, with their times. Any thread may note one."""

    def __init__(self, span_s: float = WINDOW_S, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing happened yet; `clock` in seconds that never go back."""
        self._span, self._clock = span_s, clock
        self._events: deque[tuple[float, T]] = deque(maxlen=MOST)

    def note(self, event: T) -> None:
        """It happened now."""
        self._events.append((self._clock(), event))

    def all(self) -> list[T]:
        """What happened within the span, oldest first."""
        after = self._clock() - self._span
        return [event for at, event in list(self._events) if at >= after]


class Recent:
    """What the alerts look at over minutes.

    Attributes:
        commits: seconds of the journal's commits.
        received: clients whose update is here.
        refused: (client, reason) of updates refused for good.
        transfers: of uploads and downloads that began: whether they went on from the middle.
        enrolments: why somebody was refused at the enrolment port.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing happened yet."""
        self.commits = Window[float](COMMITS_S, clock=clock)
        self.received = Window[str](clock=clock)
        self.refused = Window[tuple[str, str]](clock=clock)
        self.transfers = Window[bool](clock=clock)
        self.enrolments = Window[str](clock=clock)
