"""Notes what happens in the open round, in bounded memory, and has it written when the round is over.

A side tap: nothing here raises, and nothing waits for the disk. What a client does is what it says with its heartbeats,
as the server's clock saw it. After a restart, the trace of the open round begins anew.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Any

from roughfed import __version__
from roughfed.errors import StorageError
from roughfed.files import write_durably
from roughfed.server.storage.store import ABSENT, ACCEPTED, RoundRow
from roughfed.server.trace.chrome import CLIENTS, SERVER, Span, TraceTrack, document
from roughfed.telemetry import safely
from roughfed.trace_id import trace_id

log = logging.getLogger(__name__)

MOST_EVENTS = 20_000
MOST_OF_ONE = 200
"""Of one line: a client that flaps takes no room from the others. One that does what it should has some ten."""
MOST_CLIENTS = 512
LONGEST = 80
"""Characters of a word that a client chose."""

FOLDER = "traces"
IDLE = "idle"
CONFIGURE = "configure"
ROUND, PHASES, STAGES = (TraceTrack(SERVER, name) for name in ("round", "phases", "stages"))


class OpenTrace:
    """The spans of one round so far."""

    def __init__(self, row: RoundRow, began: float) -> None:
        """It began at `began` (Unix seconds)."""
        self.row, self.began, self.reason = row, began, ""
        self.spans: list[Span] = []
        self.kept: Counter[TraceTrack] = Counter()
        self.running: dict[TraceTrack, tuple[str, float]] = {}
        self.clients = set(row.cohort[:MOST_CLIENTS])
        self.dropped = 0

    def takes(self, client: str) -> bool:
        """Whether a client has a line; the first that come do, the cohort before all others."""
        if client not in self.clients and len(self.clients) < MOST_CLIENTS:
            self.clients.add(client)
        return client in self.clients

    def add(self, span: Span) -> None:
        """Keep a span, or count it where there is no room."""
        if len(self.spans) < MOST_EVENTS and self.kept[span.track] < MOST_OF_ONE:
            self.kept[span.track] += 1
            self.spans.append(span)
        else:
            self.dropped += 1

    def turn(self, track: TraceTrack, name: str, now: float) -> None:
        """From now on a track shows `name` ("": nothing)."""
        if (running := self.running.pop(track, None)) is not None:
            if running[0] == name:
                self.running[track] = running
                return
            self.add(Span(track, running[0], running[1], now))
        if name:
            self.running[track] = (name, now)


class Tracer:
    """The trace of the round that is open; with `keep` 0 it does nothing."""

    def __init__(
        self, run: str, folder: Path, executor: Executor, *, keep: int, clock: Callable[[], float] | None = None
    ) -> None:
        """No round is open.

        Args:
            run: its id.
            folder: of the state; the traces are under it.
            executor: writes the files.
            keep: traces that stay on disk.
            clock: Unix seconds that never go back.
        """
        offset = time.time() - time.monotonic()
        self._clock = clock or (lambda: offset + time.monotonic())
        self._run, self._folder, self._executor, self._keep = run, folder / FOLDER, executor, keep
        self._open: OpenTrace | None = None
        self._phase = (IDLE, self._clock())
        self._complained = False

    @safely
    def begin(self, row: RoundRow) -> None:
        """A round is open; its configuration, which comes before, belongs to it."""
        if not self._keep:
            return
        name, since = self._phase
        now = self._clock()
        self._open = OpenTrace(row, since if name == CONFIGURE else now)
        self._open.running[PHASES] = (name, self._open.began)

    @safely
    def phase(self, name: str) -> None:
        """The server goes over to a phase."""
        self._phase = (name, self._clock())
        if (one := self._open) is not None:
            one.turn(PHASES, name, self._phase[1])

    @safely
    def stage(self, name: str) -> None:
        """The slowest group of a masked round has come to a stage."""
        if (one := self._open) is not None:
            one.turn(STAGES, name, self._clock())

    @safely
    def client(self, client: str, phase: str) -> None:
        """What a client says that it does; "gone": its stream ended."""
        if (one := self._open) is not None and one.takes(client):
            one.turn(TraceTrack(CLIENTS, client), "" if phase == IDLE else phase[:LONGEST], self._clock())

    @safely
    def moment(self, client: str, what: str, **args: object) -> None:
        """Something happened with a client."""
        if (one := self._open) is not None and one.takes(client):
            now = self._clock()
            one.add(Span(TraceTrack(CLIENTS, client), what[:LONGEST], now, now, args, instant=True))

    def now(self) -> float:
        """When a transfer begins, for `transfer`."""
        return self._clock()

    @safely
    def transfer(self, client: str, direction: str, began: float, size_bytes: int, *, offset: int = 0) -> None:
        """Bytes that went "up" or "down" since `began`, from an offset on."""
        if (one := self._open) is not None and one.takes(client):
            start, args = max(began, one.began), {"bytes": size_bytes, "from": offset}
            one.add(Span(TraceTrack(CLIENTS, f"{client} transfers"), direction, start, self._clock(), args))

    @safely
    def abandoned(self, reason: str) -> None:
        """The open round will bring nothing."""
        if (one := self._open) is not None:
            one.reason = reason

    @safely
    def finish(self, row: RoundRow, **figures: object) -> None:
        """The round is over: write its trace, later and elsewhere."""
        one, self._open = self._open, None
        if one is None:
            return
        now = self._clock()
        for track in list(one.running):
            one.turn(track, "", now)
        for client in row.cohort:
            if client in one.clients:
                word, args = _verdict((row.sets or {}).get(client, "absent"))
                one.add(Span(TraceTrack(CLIENTS, client), word, now, now, args, instant=True))
        outcome = str(row.outcome)
        about = {
            "run": self._run,
            "round": row.round,
            "outcome": outcome,
            "reason": one.reason,
            "trace_id": trace_id(self._run, row.round),
            "dropped_events": one.dropped,
            "software": f"roughfed {__version__}",
        }
        shown = f"round {row.round}" + ("" if outcome == "committed" else f" ({outcome}: {one.reason})")
        args = {key: value for key, value in about.items() if key != "software"} | figures
        spans = [*one.spans, Span(ROUND, shown, one.began, now, args)]
        self._executor.submit(self._write, row.round, spans, about)

    def _write(self, number: int, spans: list[Span], about: Mapping[str, Any]) -> None:
        """In a thread of the executor; what the disk refuses is said once."""
        try:
            text = json.dumps(document(spans, about=about), separators=(",", ":"))
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_durably(self._folder / f"{number}.json", text.encode(), mode=0o600, sync=False)
            for old in sorted(numbers(self._folder))[: -self._keep]:
                with suppress(FileNotFoundError):
                    path_of(self._folder, old).unlink()
        except (OSError, StorageError, ValueError) as error:
            if not self._complained:
                self._complained = True
                log.warning("the trace of round %d was not written: %s (said once)", number, error)


def _verdict(word: str) -> tuple[str, dict[str, object]]:
    if word == ACCEPTED:
        return "accepted", {}
    return (word, {}) if word in ABSENT else (f"excluded: {word}"[:LONGEST], {"reason": word[:LONGEST]})


def path_of(folder: Path, number: int) -> Path:
    """Where the trace of a round lies; `folder` is the one of the traces."""
    return folder / f"{number}.json"


def numbers(folder: Path) -> list[int]:
    """Rounds that have a trace."""
    return sorted(int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal())
