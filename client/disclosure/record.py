"""The disclosure record: what left this state directory, for which federation and which model. SQL and nothing else.

Everything is written before it is shown. A record belongs to a federation (fingerprint of its CA) and to a model as the
owner's app describes it, so that neither another name of a run nor another division of the tensors opens a fresh one.
Rows of directories that are older than such records belong to none, and count in each of them.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roughfed.client.disclosure import limits as rule
from roughfed.errors import IdentityError
from roughfed.journal import Journal
from roughfed.types import RoundHeader

MODELS_REMEMBERED = 200
"""Rounds whose models and sets are remembered, to be held against later ones; of those in which something left."""

SENT = 1
"""Of a round (`answered.shown`; older versions wrote 2, too): its update left. Others may open a masked sum alone."""

INSERT_ROUND = "INSERT OR IGNORE INTO answered VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, NULL)"
EMPTY_ROW = "INSERT OR IGNORE INTO answered VALUES (?, ?, ?, ?, ?, ?, 0, 0, NULL, NULL, NULL, NULL)"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A round in which this client's update left.

    Attributes:
        distance: of its model.
        scale: what the distance is held against, beside the C of the round that asks (`disclosure.scale_of`).
        accepted: who was in the sum (`disclosure.members_of`); empty: this client was not told.
    """

    distance: float
    scale: float
    accepted: bytes


class DisclosureRecord:
    """One record of a client's journal."""

    def __init__(self, journal: Journal, *, ca: bytes = b"", model: bytes = b"", federation: str = "") -> None:
        """That of a federation, by the fingerprint of its CA, and a model, by the digest of its Spec."""
        self._journal, self._row = journal, (federation, ca, model)
        self.id = hashlib.sha256(b"roughfed ledger v1\0" + len(ca).to_bytes(4, "big") + ca + model).hexdigest()[:32]

    # -- runs ---------------------------------------------------------------------------------------------------------

    def runs(self) -> dict[str, bytes]:
        """The runs that this client did something for -> the digest of their Spec; empty where it is not known."""
        rows = self._journal.read("SELECT run, spec FROM ledger_runs WHERE ledger IN (?, '') ORDER BY ledger", self.id)
        return {row["run"]: row["spec"] for row in rows}

    async def enter(self, run: str, spec: bytes, *, allowed: int) -> None:
        """Note a run before anything is done for it.

        Raises:
            RemoteProtocolError: one more than the owner agreed to.
            IdentityError: the run had another model before.
        """
        if self.runs().get(run) == spec:
            return

        def work(db: sqlite3.Connection) -> None:
            rows = db.execute(
                "SELECT run, spec FROM ledger_runs WHERE ledger IN (?, '') ORDER BY ledger", (self.id,)
            ).fetchall()
            known = {row["run"]: row["spec"] for row in rows}
            rule.check_run(run, known, allowed=allowed)
            if known.get(run, b"") not in (b"", spec):
                raise IdentityError(f"run {run[:40]!r} had other tensors before", reason="two-models")
            db.execute("INSERT OR IGNORE INTO ledgers VALUES (?, ?, ?, ?)", (self.id, *self._row))
            db.execute("INSERT OR IGNORE INTO ledger_runs VALUES (?, ?, ?, ?)", (self.id, run, spec, time.time()))

        await self._journal.write(work)

    # -- rounds -------------------------------------------------------------------------------------------------------

    def numbers(self, header: RoundHeader) -> int:
        """Numbers of sketches that were shown in all rounds but this one."""
        sql = """
            SELECT COALESCE(SUM(numbers), 0) AS total FROM answered
            WHERE ledger IN (?, '') AND NOT (run = ? AND round = ?)"""
        return int(self._journal.read(sql, self.id, header.run, header.round)[0]["total"])

    def earlier(self, header: RoundHeader, fingerprint: NDArray[np.float64] | None = None) -> list[Earlier]:
        """The rounds that showed something, but for this one, as seen from its model.

        Args:
            header: of the round.
            fingerprint: of its model; None: the one that was noted for it.
        """
        sql = "SELECT * FROM answered WHERE ledger IN (?, '') AND fingerprint NOT NULL AND run = ? AND round = ?"
        if fingerprint is None and (own := self._journal.read(sql, self.id, header.run, header.round)):
            fingerprint = np.frombuffer(own[0]["fingerprint"])
        sql = """
            SELECT * FROM answered WHERE ledger IN (?, '') AND shown AND mode != 'updates'
            AND NOT (run = ? AND round = ?)"""
        found: list[Earlier] = []
        for row in self._journal.read(sql, self.id, header.run, header.round):
            if row["model_digest"] == header.model_digest:
                distance = 0.0
            elif row["fingerprint"] is not None and fingerprint is not None:
                distance = float(np.linalg.norm(fingerprint - np.frombuffer(row["fingerprint"])))
            else:
                continue
            found.append(Earlier(distance, row["clip_norm"], row["accepted"] or b""))
        return found

    async def record_model(self, header: RoundHeader, fingerprint: NDArray[np.float64] | None = None) -> None:
        """Note a round, and the model that it is on, before anything of it leaves.

        Forgotten are the models of rounds in which nothing left, and the oldest: rounds that come to nothing cost a
        server nothing, and must not wash away those that it wants forgotten. In the clear no model has a fingerprint.
        """
        if fingerprint is None:
            row = (*self._of(header), 0 if header.masked else SENT, None, None if header.masked else 1, None)
            await self._journal.write(lambda db: db.execute(INSERT_ROUND, row))
            return

        def work(db: sqlite3.Connection) -> None:
            sql = """
                SELECT fingerprint FROM answered WHERE ledger IN (?, '') AND fingerprint NOT NULL
                ORDER BY rowid DESC LIMIT 1"""
            before, moved = db.execute(sql, (self.id,)).fetchone(), None
            if before is not None:
                moved = float(np.linalg.norm(fingerprint - np.frombuffer(before["fingerprint"])))
            shown, members = (0, None) if header.masked else (SENT, 1)
            db.execute(INSERT_ROUND, (*self._of(header), shown, moved, members, fingerprint.tobytes()))
            sql = (
                "UPDATE answered SET fingerprint = NULL, accepted = NULL WHERE ledger = ? AND fingerprint NOT NULL "
                "AND NOT (run = ? AND round = ?) AND rowid NOT IN "
                "(SELECT rowid FROM answered WHERE ledger = ? AND shown ORDER BY rowid DESC LIMIT ?)"
            )
            db.execute(sql, (self.id, header.run, header.round, self.id, MODELS_REMEMBERED))

        await self._journal.write(work)

    async def record_sent(self, header: RoundHeader, scale: float) -> None:
        """Note that a masked update leaves; `scale`: what distances from this model are held against."""
        row = (SENT, scale, self.id, header.run, header.round)
        sql = "UPDATE answered SET shown = ?, clip_norm = ? WHERE ledger = ? AND run = ? AND round = ?"
        await self._journal.write(lambda db: db.execute(sql, row))

    async def record_numbers(self, header: RoundHeader) -> None:
        """Note that the numbers of a round's sketch leave."""

        def work(db: sqlite3.Connection) -> None:
            db.execute(EMPTY_ROW, self._of(header))
            sql = "UPDATE answered SET shown = ?, numbers = ? WHERE ledger = ? AND run = ? AND round = ?"
            db.execute(sql, (SENT, header.sketch_dim, self.id, header.run, header.round))

        await self._journal.write(work)

    async def record_sum(self, header: RoundHeader, accepted: bytes) -> None:
        """Note whose sum a round's will be, before this client signs that it saw so."""
        row = (accepted, len(rule.split_members(accepted)), self.id, header.run, header.round)

        def work(db: sqlite3.Connection) -> None:
            db.execute(EMPTY_ROW, self._of(header))
            sql = "UPDATE answered SET accepted = ?, summed = ? WHERE ledger = ? AND run = ? AND round = ?"
            db.execute(sql, row)

        await self._journal.write(work)

    async def forget_sum(self, header: RoundHeader) -> None:
        """What was noted was no sum: its sets were not the server's, or not of this group."""
        sql = "UPDATE answered SET accepted = NULL, summed = NULL WHERE ledger = ? AND run = ? AND round = ?"
        await self._journal.write(lambda db: db.execute(sql, (self.id, header.run, header.round)))

    def _of(self, header: RoundHeader) -> tuple[object, ...]:
        return self.id, header.run, header.round, header.server_sees, header.model_digest, header.clip_norm

    # -- statistics and choices ---------------------------------------------------------------------------------------

    def given(self, name: str, *, but: tuple[str, int] = ("", 0)) -> list[int]:
        """The amounts of each time that something was told, but for one (run, round)."""
        sql = "SELECT amount FROM told WHERE ledger IN (?, '') AND name = ? AND NOT (run = ? AND round = ?)"
        return [row["amount"] for row in self._journal.read(sql, self.id, name, *but)]

    def given_in(self, name: str, run: str) -> bool:
        """Whether something was told in a run."""
        sql = "SELECT 1 FROM told WHERE ledger IN (?, '') AND name = ? AND run = ?"
        return bool(self._journal.read(sql, self.id, name, run))

    async def record_given(self, run: str, number: int, amounts: Mapping[str, int]) -> None:
        """Note what is told in a round, by name, before it leaves; a round counts once."""
        rows = [(self.id, run, number, name, amount) for name, amount in amounts.items()]
        if rows:
            sql = "INSERT OR IGNORE INTO told VALUES (?, ?, ?, ?, ?)"
            await self._journal.write(lambda db: db.executemany(sql, rows))

    # -- all of it ----------------------------------------------------------------------------------------------------

    def totals(self) -> rule.Totals:
        """What left in all."""
        sql = """
            SELECT mode, COUNT(*) AS rounds, SUM(numbers) AS numbers, MIN(summed) AS smallest,
            MIN(CASE WHEN clip_norm > 0 THEN moved / clip_norm END) AS moved
            FROM answered WHERE ledger IN (?, '') AND shown GROUP BY mode"""
        rows = self._journal.read(sql, self.id)
        sql = "SELECT name, COUNT(*) AS times, SUM(amount) AS total FROM told WHERE ledger IN (?, '') GROUP BY name"
        told = {row["name"]: (row["times"], row["total"]) for row in self._journal.read(sql, self.id)}
        return rule.Totals(
            runs=tuple(self.runs()),
            rounds={row["mode"]: row["rounds"] for row in rows},
            numbers=sum(row["numbers"] for row in rows),
            smallest_sum=min((row["smallest"] for row in rows if row["smallest"] is not None), default=None),
            least_moved=min((row["moved"] for row in rows if row["moved"] is not None), default=None),
            bits=told.pop(rule.CHOICE, (0, 0))[1],
            given={name: times for name, (times, _) in told.items()},
        )


def records_in(journal: Journal) -> list[tuple[str, bytes, DisclosureRecord]]:
    """(name of the federation, digest of the model's Spec, record) of each record of a directory."""
    rows = journal.read("SELECT * FROM ledgers ORDER BY rowid")
    return [
        (
            row["federation"],
            row["model"],
            DisclosureRecord(journal, ca=row["ca"], model=row["model"], federation=row["federation"]),
        )
        for row in rows
    ]
