"""What a running server is doing: its phase, whether it is paused or about to stop, and the round that is open.

Whoever waits for a change waits here: the round engine (`sleep_until_change`) and those who look on (`watch`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from roughfed.server.cohort.collection import Collection
from roughfed.server.context.clock import RoundClock
from roughfed.server.context.round_state import RoundState
from roughfed.server.model.best_recalls import Peaks


@dataclass
class TrafficTotals:
    """Payload bytes."""

    upload: int = 0
    download: int = 0


class RunState:
    """The state of one server process.

    Attributes:
        phase: of the round, or "waiting".
        paused: no new round is opened.
        stopping: the process is about to end; an open round stays open in the journal.
        round: the open round; the last one between two rounds, None before the first one of this process.
        clock: the time that rounds go by.
        started_at: Unix seconds.
        phase_seconds: of the phases that ended since the round was opened.
        traffic: payload bytes since then, all clients together.
        peaks: the best recall of each class so far, for what was forgotten.
    """

    def __init__(self, on_phase: Callable[[str], None], peaks: Peaks) -> None:
        """Waiting, with no round open; `on_phase` is told each new phase."""
        self.peaks = peaks
        self.phase = "waiting"
        self.paused = self.stopping = False
        self.round: RoundState | None = None
        self.clock = RoundClock()
        self.started_at = time.time()
        self.phase_seconds: dict[str, float] = {}
        self.traffic = TrafficTotals()
        self._phase_began = time.monotonic()
        self._on_phase = on_phase
        self._wake = asyncio.Event()
        self._watchers: set[asyncio.Event] = set()

    @property
    def collection(self) -> Collection | None:
        """Of the open round; None while its updates are not awaited."""
        return None if self.round is None else self.round.collection

    def wake(self) -> None:
        """Something changed: let the round engine and the watchers look."""
        self._wake.set()
        self.changed()

    async def sleep_until_change(self, until: float | None = None) -> None:
        """Return at the next change, or at `until` (by the clock of rounds)."""
        await self.clock.wait(self._wake, until)
        self._wake.clear()

    def changed(self) -> None:
        """Something that only watchers care about changed (a client's progress)."""
        for watcher in self._watchers:
            watcher.set()

    def watch(self) -> asyncio.Event:
        """An event that is set at every change (for `status --watch`); give it back with `unwatch`."""
        event = asyncio.Event()
        self._watchers.add(event)
        return event

    def unwatch(self, event: asyncio.Event) -> None:
        """Stop watching."""
        self._watchers.discard(event)

    def enter(self, phase: str) -> None:
        """A phase begins, and the one before ends."""
        self.phase_seconds, self._phase_began = self.phases(), time.monotonic()
        self._on_phase(phase)
        self.phase = phase
        self.wake()

    def phases(self) -> dict[str, float]:
        """Seconds of each phase of the round so far, of the one that goes on as well."""
        spent = self.phase_seconds.get(self.phase, 0.0) + time.monotonic() - self._phase_began
        return {**self.phase_seconds, self.phase: spent}

    def begin_round(self) -> None:
        """From now on seconds and bytes count for a new round, whose first phase has begun."""
        self.phase_seconds.clear()
        self.traffic = TrafficTotals()
