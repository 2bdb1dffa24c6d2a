"""Which version of the model was made from which, in which cluster: versions are numbered in one row, and form a tree.

Without clusters the tree is a line, and every version is made from the one before.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from roughfed.errors import LocalProtocolError
from roughfed.journal import Journal

DEFAULT = "0"
"""The cluster that there always is: of whoever is in no other one, and of everybody without clusters."""


_ALL = "SELECT * FROM models"


@dataclass(frozen=True, slots=True)
class Version:
    """One version.

    Attributes:
        version: its number; a later one is larger.
        digest: BLAKE3 of the parameters, 32 bytes.
        cluster: that made it.
        base: number of the version that it was made from; -1 of one that a run begins with.
        depth: committed rounds behind it, those of other clusters before a split included.
    """

    version: int
    digest: bytes
    cluster: str
    base: int
    depth: int


class Lineage:
    """Table `models` of the server's journal, and where each cluster began."""

    def __init__(self, journal: Journal) -> None:
        """On the server's journal."""
        self._journal = journal

    def all(self, *, after: int = -1) -> list[Version]:
        """Every version beyond a number, oldest first."""
        return [_version(row) for row in self._journal.read(f"{_ALL} WHERE version > ? ORDER BY version", after)]

    def of_digest(self, digest: bytes) -> list[Version]:
        """The versions with these parameters, oldest first; mostly one."""
        return [_version(row) for row in self._journal.read(f"{_ALL} WHERE digest = ? ORDER BY version", digest)]

    def version(self, number: int) -> Version | None:
        """One version; None where there is none of this number."""
        rows = self._journal.read(f"{_ALL} WHERE version = ?", number)
        return _version(rows[0]) if rows else None

    def base_of(self, number: int) -> Version | None:
        """The version that one was made from; None for one that a run begins with."""
        found = self.version(number)
        return None if found is None else self.version(found.base)

    def head(self, cluster: str = DEFAULT) -> Version:
        """What the next round of a cluster begins with: its newest version, or that of the cluster it was split from.

        Raises:
            LocalProtocolError: there is no such cluster.
        """
        rows = self._journal.read("SELECT * FROM models WHERE cluster = ? ORDER BY version DESC LIMIT 1", cluster)
        if not rows:
            sql = "SELECT models.* FROM models JOIN clusters ON models.version = clusters.base WHERE clusters.id = ?"
            rows = self._journal.read(sql, cluster)
        if not rows:
            raise LocalProtocolError(f"there is no cluster {cluster!r}")
        return _version(rows[0])

    def clusters(self) -> list[str]:
        """Every cluster that ever was, in the order in which they began."""
        rows = self._journal.read("SELECT id FROM clusters ORDER BY rowid")
        return [DEFAULT, *(row["id"] for row in rows)]

    def heads(self) -> dict[str, Version]:
        """`head` of every cluster."""
        return {cluster: self.head(cluster) for cluster in self.clusters()}

    def made_in(self, round_number: int) -> int | None:
        """The version that a round committed; None where it committed none."""
        rows = self._journal.read("SELECT version FROM models WHERE round = ? AND version > 0", round_number)
        return rows[0]["version"] if rows and round_number else None

    def round_of(self, version: int) -> int:
        """The round that committed a version; 0 where none did."""
        rows = self._journal.read("SELECT round FROM models WHERE version = ?", version)
        return rows[0]["round"] if rows else 0


def insert_version(
    db: sqlite3.Connection, version: int, digest: bytes, *, round_number: int, now: float, base: int | None = None
) -> None:
    """Add what a round committed, inside a transaction; its cluster is the round's.

    Args:
        db: the journal.
        version: its number.
        digest: of the parameters.
        round_number: the round.
        now: Unix seconds.
        base: the version that it was made from; None for the one before.
    """
    base = version - 1 if base is None else base
    row = (version, digest, round_number, now, round_number, base, base, base)
    sql = (
        "INSERT INTO models (version, digest, round, committed_at, cluster, base, depth) VALUES (?, ?, ?, ?, "
        "COALESCE((SELECT cluster FROM rounds WHERE round = ?), '0'), ?, "
        "COALESCE((SELECT depth FROM models WHERE version = ?), ?) + 1)"
    )
    db.execute(sql, row)


def _version(row: sqlite3.Row) -> Version:
    return Version(row["version"], row["digest"], row["cluster"], row["base"], row["depth"])
