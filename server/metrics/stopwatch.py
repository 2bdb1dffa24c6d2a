"""Where the seconds of a round go: added up by any thread, taken once the round is over."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple


class Spent(NamedTuple):
    """Seconds of one kind of work; `codec` is empty where no codec is at work."""

    op: str
    codec: str = ""


class Stopwatch:
    """Adds up; work that several threads do at a time counts in each."""

    def __init__(self) -> None:
        """Nothing is spent yet."""
        self._seconds: dict[Spent, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def time(self, op: str, codec: str = "") -> Generator[None]:
        """Count the time that is spent inside, also where it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            with self._lock:
                self._seconds[Spent(op, codec)] += spent

    def take(self) -> dict[Spent, float]:
        """What was spent since the last time it was taken."""
        with self._lock:
            taken, self._seconds = dict(self._seconds), defaultdict(float)
        return taken
