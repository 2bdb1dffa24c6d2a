"""The defence of a federation: its rule, what it is shown of a round, and what it remembers from round to round.

Judging the same rows of the same round again gives the same verdict, so after a restart it is simply done again.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import safetensors.numpy as safetensors
from numpy.typing import NDArray

from roughfed.config.federation import FederationConfig
from roughfed.errors import LocalProtocolError, TooFewClients
from roughfed.journal import Journal
from roughfed.server.defence import Rule, Situation, Verdict, View
from roughfed.server.defence.plan import rows_needed, rule_of, tolerated
from roughfed.server.defence.verdict import State
from roughfed.server.defence.vouched import idle_because, spared, vouched
from roughfed.server.storage.store import ABSENT, ACCEPTED
from roughfed.server.uploads.admission import MAGNITUDE, REVOKED

FREE_RIDER = "free-rider"
"""Verdict on who is left out for training nothing, where the settings say so."""

RESERVED = frozenset((ACCEPTED, MAGNITUDE, REVOKED, FREE_RIDER, *ABSENT))
"""Verdicts that are not a rule's: after a restart it is not shown whom it would have given one."""

Entropy = Callable[[int], bytes]
"""Number of bytes -> secret bytes."""


@dataclass(frozen=True, slots=True)
class ConfiguredRule:
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
    memory: DefenceStore

    @classmethod
    def of(cls, config: FederationConfig, journal: Journal, *, entropy: Entropy = os.urandom) -> ConfiguredRule:
        """As the settings say."""
        name = config.defence.rule_of(config.privacy.server_sees)
        return cls(name, rule_of(name), config.defence.f, DefenceStore(journal, name, entropy=entropy))

    def situation(self, round_number: int, clients: int) -> Situation:
        """What the rule knows of a round of so many clients beside its rows; the same whenever it is asked."""
        seed = self.memory.seed(round_number)
        known = self.memory.before(round_number)
        return Situation(tolerated(self.f, clients), round_number, seed, known, self.vouched().keys())

    def vouched(self) -> dict[str, str]:
        """Whom the rule spares -> why, as the operator said."""
        return {} if idle_because(self.name, self.f) else self.memory.vouched()

    def judge(self, view: View, situation: Situation) -> Verdict:
        """The rule's verdict.

        Raises:
            TooFewClients: the rule cannot hold against so many among so few; half of the rows are too many for any.
            LocalProtocolError: a rule that a package brought says what no rule can.
        """
        if self.name != "none" and len(view) < (needed := rows_needed(self.rule, situation.f)):
            raise TooFewClients(needed=needed, got=len(view))
        verdict = self.rule.judge(view, situation)
        if strange := verdict.excluded.keys() - set(view.names):
            raise LocalProtocolError(f"{self.name} leaves out {', '.join(sorted(strange))}, whom it was not shown")
        if taken := RESERVED & set(verdict.excluded.values()):
            raise LocalProtocolError(f"{self.name} gives reasons that say something else: {sorted(taken)}")
        return spared(verdict, situation.vouched)


@dataclass(frozen=True, slots=True)
class VerdictRecord:
    """What is known of a verdict beside the sets.

    Attributes:
        judged: rows that the rule was shown.
        tolerated: f, the attackers that were expected.
        scores: the figures that the rule went by, by name; empty where it had none.
    """

    judged: int
    tolerated: int
    scores: Mapping[str, float]


_SAME = (
    "(SELECT cluster FROM rounds WHERE rounds.round = defence.round) IS (SELECT cluster FROM rounds WHERE round = ?)"
)
"""Of the cluster of a round (`roughfed.server.extensions.clusters`)."""


class DefenceStore:
    """Table `defence` of the journal: by round, a secret seed, the rule's state, and the figures it went by."""

    def __init__(self, journal: Journal, rule: str, *, entropy: Entropy = os.urandom) -> None:
        """On the server's journal; of what other rules remembered before the settings changed, nothing is seen."""
        self._journal, self._mark, self._entropy = journal, f"{rule}/", entropy
        self._seeds: dict[int, int] = {}

    def seed(self, round_number: int) -> int:
        """The seed of a round; drawn when it is first asked for, so that no client can know it before its upload.

        It need not be on disk before it is used, only with what the verdict leaves behind (`keep`).
        """
        if round_number not in self._seeds:
            rows = self._journal.read("SELECT seed FROM defence WHERE round = ?", round_number)
            seed = int(rows[0]["seed"]) if rows else int.from_bytes(self._entropy(8)) >> 2
            self._seeds = {round_number: seed}
        return self._seeds[round_number]

    def before(self, round_number: int) -> dict[str, NDArray[np.float64]]:
        """What the rule remembered last before a round of its cluster: of what clients did in others, nothing."""
        sql = f"SELECT state FROM defence WHERE round < ? AND state IS NOT NULL AND {_SAME} ORDER BY round DESC LIMIT 1"  # noqa: S608
        rows = self._journal.read(sql, round_number, round_number)
        kept = unpack(rows[0]["state"]) if rows else {}
        return {key.removeprefix(self._mark): value for key, value in kept.items() if key.startswith(self._mark)}

    def keep(self, round_number: int, verdict: Verdict, *, judged: int, tolerated: int) -> None:
        """Journal, with the round's verdicts, what one leaves behind, and drop what none can ask for any more.

        The state that this verdict was made with stays, of whatever round it is: after a crash it is asked for again.
        """
        state = pack({self._mark + key: value for key, value in verdict.state.items()})
        row = (state, json.dumps(dict(verdict.scores), sort_keys=True), judged, tolerated, round_number)
        seed = (round_number, self.seed(round_number))
        last = f"SELECT MAX(round) FROM defence WHERE round < ? AND state NOT NULL AND {_SAME}"  # noqa: S608
        older = f"DELETE FROM defence WHERE round < ({last}) AND {_SAME}"  # noqa: S608

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR IGNORE INTO defence (round, seed) VALUES (?, ?)", seed)
            db.execute("UPDATE defence SET state = ?, scores = ?, judged = ?, tolerated = ? WHERE round = ?", row)
            db.execute(older, (round_number,) * 3)

        self._journal.attach(work)

    def vouched(self) -> dict[str, str]:
        """Who is vouched for -> why."""
        return vouched(self._journal)

    def told(self, round_number: int) -> VerdictRecord | None:
        """What is known of the verdict of a round that is not long ago; None where the rule gave none."""
        sql = "SELECT judged, tolerated, scores FROM defence WHERE round = ? AND judged NOT NULL"
        rows = self._journal.read(sql, round_number)
        return VerdictRecord(rows[0]["judged"], rows[0]["tolerated"], json.loads(rows[0]["scores"])) if rows else None


def pack(state: State) -> bytes:
    """Arrays as the bytes of a safetensors file."""
    return safetensors.save({name: np.ascontiguousarray(state[name], dtype=np.float64) for name in sorted(state)})


def unpack(data: bytes) -> dict[str, NDArray[np.float64]]:
    """The arrays of `pack`."""
    return dict(safetensors.load(data))
