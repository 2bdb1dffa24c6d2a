"""What a masked round took, in the order it took it: after a `kill -9` the same messages and facts are played again.

A message that was lost with the process is sent again by its client; a fact is committed before anybody is told of it,
so a seed, and the sets, are the same for ever.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from roughfed.journal import Journal
from roughfed.server.members.quarantine import held
from roughfed.tiers import STANDARD
from roughfed.types import Signed

log = logging.getLogger(__name__)

SILENT = ("no advert", "no shares", "no sketch", "no signature over the sets", "silent at unmask")
"""Notes about a connected client that owed an answer: each makes the others wait."""

SILENCES = 3
"""Rounds in which a connected client was silent, after which it is not asked again."""


NOBODY: Mapping[str, str] = MappingProxyType({})
NO_CLIPS: Mapping[str, float] = MappingProxyType({})
NOTHING: Mapping[str, Iterable[int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class JournaledStage:
    """One row: a client's stage (with its roster entry beside an advert), or a fact ("fact:..."; no client)."""

    kind: str
    client: str
    signed: Signed
    entry: bytes = b""


@dataclass(frozen=True, slots=True)
class MaskedOpening:
    """What the server chose, or found, about a masked round.

    Attributes:
        nonce: committed to in the header, 32 bytes.
        epoch_round: round that drew the groups.
        beacon: of that round; empty before it is known.
        clip_norm: C of this round.
        next_clip: C of the next one; None when this round brought nothing.
    """

    nonce: bytes
    epoch_round: int
    beacon: bytes
    clip_norm: float
    next_clip: float | None


class Stages:
    """The tables of masked rounds in the server's journal."""

    def __init__(self, journal: Journal, *, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """On the server's journal; nonces are drawn from `entropy`."""
        self._journal, self.entropy = journal, entropy

    # -- one round ----------------------------------------------------------------------------------------------------

    def submit(self, number: int, step: JournaledStage) -> asyncio.Future[None]:
        """Hand a step over; a later fact waits for it."""
        row = (number, step.kind, step.client, step.signed.body, step.signed.signature, step.entry)
        sql = "INSERT INTO stages (round, kind, client, body, signature, entry) VALUES (?, ?, ?, ?, ?, ?)"

        def work(db: sqlite3.Connection) -> None:
            db.execute(sql, row)

        future = self._journal.submit(work)
        future.add_done_callback(_complain)
        return future

    def steps(self, number: int) -> list[JournaledStage]:
        """All steps of a round, in order."""
        rows = self._journal.read("SELECT * FROM stages WHERE round = ? ORDER BY seq", number)
        return [
            JournaledStage(r["kind"], r["client"], Signed(r["body"], r["signature"], r["client"]), r["entry"])
            for r in rows
        ]

    async def forget(self, number: int) -> None:
        """The round is over: keep nothing of what its clients said."""
        await self._journal.write(lambda db: db.execute("DELETE FROM stages WHERE round <= ?", (number,)))

    # -- what outlives a round ----------------------------------------------------------------------------------------

    async def open(self, number: int, opening: MaskedOpening, tier: str = STANDARD) -> None:
        """Journal nonce and clip norm of a tier, before the header is journaled; they share the nonce."""
        row = (number, opening.epoch_round, opening.beacon, opening.clip_norm)
        if tier == STANDARD:
            sql = "INSERT OR REPLACE INTO masked_rounds (round, epoch_round, beacon, clip_norm, nonce)"
            more: bytes | str = opening.nonce
        else:
            sql = "INSERT OR REPLACE INTO tier_rounds (round, epoch_round, beacon, clip_norm, tier)"
            more = tier
        await self._journal.write(lambda db: db.execute(f"{sql} VALUES (?, ?, ?, ?, ?)", (*row, more)))

    def opening(self, number: int) -> MaskedOpening | None:
        """What was chosen for a round's standard tier."""
        rows = self._journal.read("SELECT * FROM masked_rounds WHERE round = ?", number)
        return _opening(rows[0]) if rows else None

    def last(self, tier: str = STANDARD) -> MaskedOpening | None:
        """That of the newest masked round of a tier."""
        if tier == STANDARD:
            rows = self._journal.read("SELECT * FROM masked_rounds ORDER BY round DESC LIMIT 1")
        else:
            sql = "SELECT *, x'' AS nonce FROM tier_rounds WHERE tier = ? ORDER BY round DESC LIMIT 1"
            rows = self._journal.read(sql, tier)
        return _opening(rows[0]) if rows else None

    def last_drawing(self) -> tuple[int, bytes]:
        """(round, beacon) of the last drawing of the standard tier's groups; (0, b"") before the first."""
        sql = "SELECT epoch_round, beacon FROM masked_rounds WHERE beacon != x'' ORDER BY round DESC LIMIT 1"
        rows = self._journal.read(sql)
        return (rows[0]["epoch_round"], rows[0]["beacon"]) if rows else (0, b"")

    async def note_beacon(self, number: int, beacon: bytes, tier: str = STANDARD) -> None:
        """The groups of a tier are drawn."""
        if tier == STANDARD:
            sql, which = "UPDATE masked_rounds SET beacon = ? WHERE round = ?", (beacon, number)
        else:
            sql, which = (
                "UPDATE tier_rounds SET beacon = ? WHERE round = ? AND tier = ?",
                (beacon, number, tier),
            )
        await self._journal.write(lambda db: db.execute(sql, which))

    async def note_end(
        self,
        number: int,
        *,
        proofs: Mapping[str, str],
        now: float,
        noted: Mapping[str, str] = NOBODY,
        next_clips: Mapping[str, float] = NO_CLIPS,
        statistics: Mapping[str, Iterable[int]] = NOTHING,
    ) -> None:
        """What the groups gave: who is proved a liar, who was silent, the next clip norm of each tier, the sums."""
        text = json.dumps({name: list(values) for name, values in statistics.items()})

        def work(db: sqlite3.Connection) -> None:
            sql = "UPDATE masked_rounds SET next_clip = ?, statistics = ? WHERE round = ?"
            db.execute(sql, (next_clips.get(STANDARD), text, number))
            clips = [(clip, number, name) for name, clip in next_clips.items() if name != STANDARD]
            db.executemany("UPDATE tier_rounds SET next_clip = ? WHERE round = ? AND tier = ?", clips)
            rows = [(client, number, reason, now) for client, reason in proofs.items()]
            sql = "INSERT OR IGNORE INTO proofs (client, round, reason, found_at) VALUES (?, ?, ?, ?)"
            db.executemany(sql, rows)
            sql = (
                "INSERT INTO notes (round, client, what) VALUES (?, ?, ?) "
                "ON CONFLICT (round, client) DO UPDATE SET what = excluded.what"
            )
            db.executemany(sql, [(number, client, what) for client, what in noted.items()])

        await self._journal.write(work)

    def statistics(self, number: int) -> dict[str, tuple[int, ...]]:
        """Sums of a round by name."""
        rows = self._journal.read("SELECT statistics FROM masked_rounds WHERE round = ?", number)
        text = rows[0]["statistics"] if rows else None
        return {name: tuple(values) for name, values in json.loads(text).items()} if text else {}

    def proofs(self) -> dict[str, tuple[int, str]]:
        """Proved liars that were not released: client -> (round, reason) of the first proof."""
        rows = self._journal.read("SELECT * FROM proofs WHERE released_at IS NULL ORDER BY client, round DESC")
        return {row["client"]: (row["round"], row["reason"]) for row in rows}

    def suspended(self) -> dict[str, str]:
        """Clients that were silent so often that they are not asked any more."""
        marks = ", ".join("?" for _ in SILENT)
        sql = f"SELECT client, COUNT(*) AS times FROM notes WHERE what IN ({marks}) AND released_at IS NULL "  # noqa: S608
        sql += "GROUP BY client"
        rows = self._journal.read(sql, *SILENT)
        return {row["client"]: f"silent in {row['times']} rounds" for row in rows if row["times"] >= SILENCES}

    def quarantined(self) -> dict[str, str]:
        """Clients that are not asked any more, and why; what is proved goes before what is noted or the operator's."""
        return (
            held(self._journal) | self.suspended() | {client: reason for client, (_, reason) in self.proofs().items()}
        )

    async def release(self, client: str, now: float) -> None:
        """Ask a client again. What is known of it is kept and marked; what it does from now on counts anew."""

        def work(db: sqlite3.Connection) -> None:
            for table in ("proofs", "notes", "held"):
                sql = f"UPDATE {table} SET released_at = ? WHERE client = ? AND released_at IS NULL"  # noqa: S608
                db.execute(sql, (now, client))

        await self._journal.write(work)


def _opening(row: sqlite3.Row) -> MaskedOpening:
    return MaskedOpening(row["nonce"], row["epoch_round"], row["beacon"], row["clip_norm"], row["next_clip"])


def _complain(future: asyncio.Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("a stage was not journaled: %s", error)
