"""Free-riders of a running federation: what a round shows of them, and what is remembered from round to round.

Looking at the same rows of the same round again finds the same, so after a restart it is simply done again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from roughfed.journal import Journal
from roughfed.server.context.extension import Extension, Figures, Payloads
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.defence import View
from roughfed.server.defence.gram import Values
from roughfed.server.defence.memory import FREE_RIDER, pack, unpack
from roughfed.server.defence.passes import marked
from roughfed.server.defence.plan import rows_needed, tolerated
from roughfed.server.defence.verdict import State
from roughfed.server.extensions.free_riders import detection
from roughfed.server.extensions.free_riders.detection import FORGOTTEN, FreeRiderFinding, RoundRows, echoes
from roughfed.server.uploads.spool import opened

log = logging.getLogger(__name__)

MARKS, REMEMBERED = 31, 8
"""Numbers of an update that are kept (a prime: no layer's width falls together with it), and updates of each client."""

ROW, MARK, SEED = "row/", "mark/", "seed"
"""Keys of the state: evidence by client, float64 [kinds + 1]; marks by client, [k, 1 + MARKS], the first number of each
is the round; the seed of the marks, [1]."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a round says of free-riders.

    Attributes:
        flags: client -> kind.
        evidence: client -> kind -> how much speaks for it, in units of what flags; of the flagged.
        twins: flagged client -> whose update it sent as well.
        out: who is left out of the sum for it.
        seen: whoever was looked at.
    """

    flags: Mapping[str, str] = field(default_factory=dict[str, str])
    evidence: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    twins: Mapping[str, str] = field(default_factory=dict[str, str])
    out: Sequence[str] = ()
    seen: Sequence[str] = ()

    def with_more(self, found: FreeRiderFinding, seen: Sequence[str], out: Sequence[str]) -> Watched:
        """The same with what was found in another class."""
        flags = {**self.flags, **found.flags}
        evidence = {**self.evidence, **{name: found.evidence[name] for name in found.flags}}
        twins = {**self.twins, **{name: found.twins[name] for name in found.flags if name in found.twins}}
        return Watched(flags, evidence, twins, (*self.out, *out), (*self.seen, *seen))


class Riders:
    """Table `riders` of the server's journal: by round, what is remembered, and what was found."""

    def __init__(self, journal: Journal) -> None:
        """On the server's journal."""
        self._journal = journal

    def before(self, round_number: int) -> dict[str, Values]:
        """What was remembered before a round."""
        sql = "SELECT state FROM riders WHERE round < ? ORDER BY round DESC LIMIT 1"
        rows = self._journal.read(sql, round_number)
        return unpack(rows[0]["state"]) if rows else {SEED: np.array([float(secrets.randbits(52))])}

    async def keep(self, round_number: int, state: State, watched: Watched) -> None:
        """Journal a round, and drop what nobody can ask for any more: the two last states are kept."""
        found = [dict(watched.flags), watched.evidence, dict(watched.twins), list(watched.out), list(watched.seen)]
        row = (round_number, pack(state), json.dumps(found, sort_keys=True))

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO riders VALUES (?, ?, ?)", row)
            sql = "UPDATE riders SET state = x'' WHERE round < (SELECT MAX(round) FROM riders WHERE round < ?)"
            db.execute(sql, (round_number,))

        await self._journal.write(work)

    def told(self, round_number: int) -> Watched | None:
        """What a round said; None where it was not looked at."""
        rows = self._journal.read("SELECT found FROM riders WHERE round = ?", round_number)
        return Watched(*json.loads(rows[0]["found"])) if rows else None


class FreeRiders(Extension):
    """Looks for clients that train nothing."""

    def __init__(self, ctx: ServerContext) -> None:
        """What the journal remembers of earlier rounds."""
        self._ctx, self.riders = ctx, Riders(ctx.store.journal)

    async def on_views(
        self, round_: RoundState, views: Mapping[str, View], payloads: Mapping[str, Payloads]
    ) -> Mapping[str, View]:
        """Look for free-riders among the rows of a round, and journal what is found.

        Returns:
            the views without those who are left out for it, which the defence goes by.

        Raises:
            StorageError: a file is gone, or the disk refused.
        """
        if not self._ctx.config.contribution.watches(self._ctx.config.privacy.server_sees):
            return views
        watched, state = Watched(), self.riders.before(round_.number)
        for name, view in views.items():
            found, state = await asyncio.to_thread(self._look, round_, view, payloads.get(name), state)
            watched = watched.with_more(found, view.names, self._left_out(view, found.flags))
        if self.riders.told(round_.number) is None:
            self._log(round_, watched)
        await self.riders.keep(round_.number, state, watched)
        if not watched.out:
            return views
        return {name: view.only(set(view.names) - set(watched.out)) for name, view in views.items()}

    def excluded(self, round_: RoundState) -> Mapping[str, str]:
        """Who is left out of a round as a free-rider -> the reason."""
        told = self.riders.told(round_.number)
        return {} if told is None else dict.fromkeys(told.out, FREE_RIDER)

    def _look(
        self, round_: RoundState, view: View, payloads: Payloads | None, state: State
    ) -> tuple[FreeRiderFinding, State]:
        marks = None if payloads is None else _marks(view.names, payloads, int(state[SEED][0]))
        return look(view, marks, self._arrivals(round_, view.names), state, round_.number)

    def _arrivals(self, round_: RoundState, names: Sequence[str]) -> np.ndarray:
        """Place of each row in the order in which the updates were received, int [n]."""
        sql = "SELECT client FROM receipts WHERE round = ? ORDER BY received_at, rowid"
        order = {each["client"]: place for place, each in enumerate(self._ctx.store.journal.read(sql, round_.number))}
        return np.array([order.get(name, len(order)) for name in names])

    def _left_out(self, view: View, flags: Mapping[str, str]) -> list[str]:
        """The flagged, where the settings say so, and where enough others are left for the rule."""
        if self._ctx.config.contribution.free_riders != "exclude" or not flags:
            return []
        left = len(view) - len(flags)
        if left < max(1, rows_needed(self._ctx.defence.rule, tolerated(self._ctx.defence.f, left))):
            log.warning(
                "%d of %d clients look like free-riders: too few others, nobody is left out", len(flags), len(view)
            )
            return []
        return sorted(flags)

    def _log(self, round_: RoundState, watched: Watched) -> None:
        before = self.riders.told(round_.number - 1)
        for name, kind in watched.flags.items():
            if before is None or name not in before.flags:
                log.warning(
                    "round %d: %s looks like a free-rider (%s)",
                    round_.number,
                    name,
                    kind,
                    extra={"round": round_.number},
                )

    def figures(self, round_: RoundState) -> Figures:
        """Who looks like a free-rider, and by what."""
        if (watched := self.riders.told(round_.number)) is None:
            return {}
        flagged = {"free_riders": dict(watched.flags), "evidence": watched.evidence, "copies": dict(watched.twins)}
        return {"contribution": flagged}


def look(
    view: View, marks: Values | None, arrival: np.ndarray, state: State, round_number: int
) -> tuple[FreeRiderFinding, State]:
    """What the rows of a round say, and what is remembered then.

    Args:
        view: the rows.
        marks: a few numbers of each, float64 [n, MARKS] (`marked`); None of sketches.
        arrival: place of each in the order in which the updates came, int [n].
        state: of the last call, with the seed of the marks.
        round_number: of the round.
    """
    echo, again = np.ones(len(view)), np.ones(len(view))
    kept = {key: value for key, value in state.items() if key.startswith(MARK)}
    if marks is not None:
        known = {name: state[MARK + name][:, 1:] for name in view.names if MARK + name in state}
        echo, again = echoes(marks, known, view.names)
        kept = _with_marks(state, view.names, marks, round_number)
    rows = {name.removeprefix(ROW): value for name, value in state.items() if name.startswith(ROW)}
    found = detection.judge(RoundRows(view, echo, again, arrival), rows, round_number)
    return found, {SEED: state[SEED], **kept, **{ROW + name: value for name, value in found.state.items()}}


def _marks(names: Sequence[str], payloads: Payloads, seed: int) -> Values:
    codec, size = payloads.codec, payloads.size
    with ExitStack() as stack:
        fills = [stack.enter_context(opened(payloads.paths[name], codec=codec, size=size)) for name in names]
        return marked(fills, size, MARKS, seed)


def _with_marks(state: State, names: Sequence[str], fresh: Values, number: int) -> dict[str, Values]:
    """The marks that are known now; those of clients that were not seen for long are dropped."""
    kept = {key: value for key, value in state.items() if key.startswith(MARK) and number - value[-1, 0] <= FORGOTTEN}
    for name, mark in zip(names, fresh, strict=True):
        before = kept.get(MARK + name, np.empty((0, 1 + MARKS)))
        kept[MARK + name] = np.vstack([before, [[float(number), *mark]]])[-REMEMBERED:]
    return kept
