"""The clusters' tables of the server's journal: who was where since when, what was split off from what, who chose what.

Every decision is one transaction, and is there before anything is done by it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.numpy as safetensors

from roughfed.journal import Journal
from roughfed.server.extensions.clusters.bipartition import RowAngles
from roughfed.server.extensions.clusters.choices import Choosing
from roughfed.server.extensions.clusters.members import Move
from roughfed.server.storage.lineage import DEFAULT


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a client is.

    Attributes:
        cluster: its cluster.
        round: the last round before it came.
        why: as of its `Move`.
    """

    cluster: str
    round: int
    why: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A cluster that begins: its id, the version that it goes on from, and why there is one."""

    cluster: str
    base: int
    why: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided after a round.

    Attributes:
        event: "", "split", "chosen" or "joined-default".
        figures: what it went by.
    """

    event: str
    figures: Mapping[str, object]


class ClusterJournal:
    """The tables of clusters."""

    def __init__(self, journal: Journal) -> None:
        """On the server's journal."""
        self._journal = journal

    # -- who is where -------------------------------------------------------------------------------------------------

    def entries(self) -> dict[str, Entry]:
        """Where each client is now."""
        rows = self._journal.read("SELECT * FROM cluster_moves ORDER BY seq")
        return {row["client"]: Entry(row["cluster"], row["round"], row["why"]) for row in rows}

    def tried(self, client: str) -> dict[str, float]:
        """Clusters that a client left after it was seen there -> its mean cosine to the members."""
        found: dict[str, float] = {}
        cluster = ""
        for row in self._journal.read("SELECT * FROM cluster_moves WHERE client = ? ORDER BY seq", client):
            if cluster and row["score"] is not None:
                found[cluster] = row["score"]
            cluster = row["cluster"]
        return found

    async def decide(
        self, number: int, decided: Decided, moves: Sequence[Move] = (), begun: Sequence[Begun] = ()
    ) -> None:
        """Journal what follows from a round: clusters that begin, clients that move; at most once for each round."""

        def work(db: sqlite3.Connection) -> None:
            write(db, number, decided, moves, begun)

        await self._journal.write(work)

    def decided(self, number: int) -> Decided | None:
        """What was decided after a round; None before."""
        rows = self._journal.read("SELECT * FROM cluster_decided WHERE round = ?", number)
        return Decided(rows[0]["event"], json.loads(rows[0]["figures"])) if rows else None

    def changed(self, cluster: str) -> int:
        """The last round before a cluster began, or was split."""
        rows = self._journal.read(
            "SELECT MAX(round) AS last FROM cluster_moves WHERE cluster = ? AND why = 'split'", cluster
        )
        return int(rows[0]["last"] or 0)

    # -- what rounds showed -------------------------------------------------------------------------------------------

    async def keep_rows(self, number: int, cluster: str, rows: RowAngles, *, kept: int) -> None:
        """Keep the angles of a round, of its cluster's first one, and of the last `kept` before it."""
        gram = safetensors.save({"gram": np.ascontiguousarray(rows.gram, dtype=np.float64)})
        values = (number, cluster, json.dumps(list(rows.names)), gram, rows.error)
        older = (
            "DELETE FROM cluster_rows WHERE cluster = ? AND round NOT IN (SELECT round FROM cluster_rows WHERE cluster "
            "= ? ORDER BY round DESC LIMIT ?) AND round > (SELECT MIN(round) FROM cluster_rows WHERE cluster = ?)"
        )

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO cluster_rows VALUES (?, ?, ?, ?, ?)", values)
            db.execute(older, (cluster, cluster, kept + 1, cluster))

        await self._journal.write(work)

    def rows(self, cluster: str, *, after: int = 0) -> list[RowAngles]:
        """What is kept of a cluster's rounds beyond a number, oldest first."""
        sql = "SELECT * FROM cluster_rows WHERE cluster = ? AND round > ? ORDER BY round"
        return [
            RowAngles(tuple(json.loads(row["names"])), safetensors.load(row["gram"])["gram"], row["error"])
            for row in self._journal.read(sql, cluster, after)
        ]

    def turns(self, *, after: int = 0) -> dict[str, int]:
        """Rounds that each cluster was given beyond a number."""
        sql = "SELECT cluster, COUNT(*) AS turns FROM rounds WHERE round > ? GROUP BY cluster"
        return {row["cluster"]: row["turns"] for row in self._journal.read(sql, after)}

    def failed(self) -> dict[str, int]:
        """Rounds of each cluster that were abandoned since its last committed one; only where there are any."""
        sql = (
            "SELECT cluster, COUNT(*) AS failed FROM rounds AS mine WHERE outcome = 'abandoned' AND round > COALESCE("
            "(SELECT MAX(round) FROM rounds WHERE cluster = mine.cluster AND outcome = 'committed'), 0) "
            "GROUP BY cluster"
        )
        return {row["cluster"]: row["failed"] for row in self._journal.read(sql)}

    # -- choosings ----------------------------------------------------------------------------------------------------

    def last_choosing(self, *, everybody: bool = False) -> Choosing | None:
        """The last question, or the last one to everybody."""
        sql = f"SELECT * FROM choosings {'WHERE everybody ' if everybody else ''}ORDER BY number DESC LIMIT 1"  # noqa: S608
        rows = self._journal.read(sql)
        if not rows:
            return None
        row = rows[0]
        said = self._journal.read("SELECT * FROM choices WHERE number = ? ORDER BY client", row["number"])
        models = tuple((str(c), int(v), bytes.fromhex(d)) for c, v, d in json.loads(row["models"]))
        return Choosing(
            row["number"],
            row["round"],
            bool(row["everybody"]),
            tuple(json.loads(row["asked"])),
            models,
            row["closed_at"] is None,
            {each["client"]: each["cluster"] for each in said},
        )

    async def open_choosing(self, choosing: Choosing, now: float) -> None:
        """Journal a question before anybody is asked."""
        models = json.dumps([[cluster, version, digest.hex()] for cluster, version, digest in choosing.models])
        asked = json.dumps(list(choosing.asked))
        row = (choosing.number, choosing.round, int(choosing.everybody), asked, models, now)
        sql = "INSERT INTO choosings (number, round, everybody, asked, models, opened_at) VALUES (?, ?, ?, ?, ?, ?)"
        await self._journal.write(lambda db: db.execute(sql, row))

    async def note_choice(self, number: int, client: str, cluster: str) -> None:
        """An answer; the first one counts."""
        sql = "INSERT OR IGNORE INTO choices VALUES (?, ?, ?)"
        await self._journal.write(lambda db: db.execute(sql, (number, client, cluster)))

    async def close_choosing(self, choosing: Choosing, now: float, moves: Sequence[Move], decided: Decided) -> None:
        """No more answers count, and what follows from them."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE choosings SET closed_at = ? WHERE number = ?", (now, choosing.number))
            write(db, choosing.round, decided, moves, ())

        await self._journal.write(work)

    # -- models that a run begins with --------------------------------------------------------------------------------

    async def add_first(self, cluster: str, digest: bytes, now: float) -> int:
        """A model that a cluster begins with, untrained; returns its version."""

        def work(db: sqlite3.Connection) -> int:
            (version,) = db.execute("SELECT MAX(version) + 1 FROM models").fetchone()
            sql = "INSERT INTO models (version, digest, round, committed_at, cluster) VALUES (?, ?, 0, ?, ?)"
            db.execute(sql, (version, digest, now, cluster))
            if cluster != DEFAULT:  # which there always is
                db.execute("INSERT OR IGNORE INTO clusters VALUES (?, ?, 0, 'first')", (cluster, version))
            return version

        return await self._journal.write(work)


def write(db: sqlite3.Connection, number: int, decided: Decided, moves: Sequence[Move], begun: Sequence[Begun]) -> None:
    """One decision, inside a transaction."""
    for each in begun:
        db.execute("INSERT INTO clusters VALUES (?, ?, ?, ?)", (each.cluster, each.base, number, each.why))
    rows = [(number, move.client, move.cluster, move.why, move.score) for move in moves]
    db.executemany("INSERT INTO cluster_moves (round, client, cluster, why, score) VALUES (?, ?, ?, ?, ?)", rows)
    values = (number, decided.event, json.dumps(dict(decided.figures)))
    sql = (
        "INSERT INTO cluster_decided VALUES (?, ?, ?) ON CONFLICT (round) DO UPDATE SET event = "
        "CASE excluded.event WHEN '' THEN event ELSE excluded.event END, figures = excluded.figures"
    )
    db.execute(sql, values)
