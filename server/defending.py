"""The defence of a federation: its rule, what it is shown of a round, and what it remembers from round to round.

Judging the same rows of the same round again gives the same verdict, so after a restart it is simply done again.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from dataclasses import dataclass

import numpy as np
import safetensors.numpy as safetensors
from numpy.typing import NDArray

from roughfed.config.federation import FederationConfig
from roughfed.errors import TooFewClients
from roughfed.journal import Journal
from roughfed.server.defence import Rule, Situation, Verdict, View
from roughfed.server.defence.plan import rows_needed, rule_of, tolerated
from roughfed.server.defence.verdict import State


@dataclass(frozen=True, slots=True)
class Defence:
    """A rule with the number of attackers it is to hold against.

    Attributes:
        name: row of the table.
        rule: the row.
        f: `defence.f`.
        memory: where seeds, states and scores are journaled.
    """

    name: str
    rule: Rule
    f: float
    memory: Memory

    @classmethod
    def of(cls, config: FederationConfig, journal: Journal) -> Defence:
        """As the settings say."""
        name = config.defence.rule_of(config.privacy.server_sees)
        return cls(name, rule_of(name), config.defence.f, Memory(journal))

    async def situation(self, round_number: int, clients: int) -> Situation:
        """What the rule knows of a round of so many clients beside its rows; the same whenever it is asked."""
        seed = await self.memory.seed(round_number)
        return Situation(tolerated(self.f, clients), round_number, seed, self.memory.before(round_number))

    def judge(self, view: View, situation: Situation) -> Verdict:
        """The rule's verdict.

        Raises:
            TooFewClients: the rule cannot hold against so many among so few; half of the rows are too many for any.
        """
        if self.name != "none" and len(view) < (needed := rows_needed(self.rule, situation.f)):
            raise TooFewClients(needed=needed, got=len(view))
        return self.rule.judge(view, situation)


class Memory:
    """Table `defence` of the journal: by round, a secret seed, the rule's state, and the figures it went by."""

    def __init__(self, journal: Journal) -> None:
        """On the server's journal."""
        self._journal = journal

    async def seed(self, round_number: int) -> int:
        """The seed of a round; drawn when it is first asked for, so that no client can know it before its upload."""
        sql = "INSERT OR IGNORE INTO defence (round, seed) VALUES (?, ?)"
        row = (round_number, secrets.randbits(62))
        await self._journal.write(lambda db: db.execute(sql, row))
        return int(self._journal.read("SELECT seed FROM defence WHERE round = ?", round_number)[0]["seed"])

    def before(self, round_number: int) -> dict[str, NDArray[np.float64]]:
        """What the rule remembered last before a round."""
        sql = "SELECT state FROM defence WHERE round < ? AND state IS NOT NULL ORDER BY round DESC LIMIT 1"
        rows = self._journal.read(sql, round_number)
        return unpack(rows[0]["state"]) if rows else {}

    async def keep(self, round_number: int, verdict: Verdict) -> None:
        """Journal what a verdict leaves behind; older states but the newest one are dropped."""
        row = (pack(verdict.state), json.dumps(dict(verdict.scores), sort_keys=True), round_number)

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE defence SET state = ?, scores = ? WHERE round = ?", row)
            db.execute("UPDATE defence SET state = NULL WHERE round < ?", (round_number - 1,))

        await self._journal.write(work)

    def scores(self, round_number: int) -> dict[str, float]:
        """The figures that the rule went by in a round, by name; empty where it had none."""
        rows = self._journal.read("SELECT scores FROM defence WHERE round = ?", round_number)
        return json.loads(rows[0]["scores"]) if rows and rows[0]["scores"] else {}


def pack(state: State) -> bytes | None:
    """Arrays as the bytes of a safetensors file; None for none."""
    if not state:
        return None
    return safetensors.save({name: np.ascontiguousarray(state[name], dtype=np.float64) for name in sorted(state)})


def unpack(data: bytes) -> dict[str, NDArray[np.float64]]:
    """The arrays of `pack`."""
    return dict(safetensors.load(data))
