"""Models that the worker finished from sums: beside the versions, never one of them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from roughfed.server.storage.store import Store, evaluation_of, evaluation_row
from roughfed.types import Evaluation


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A model that the worker finished from sums (`trainer.calibrate`).

    Attributes:
        version: that it was made of.
        how: ccvr, creff or post-hoc.
        digest: of its file.
        head: its classifier, weights [C x d] and then biases [C].
        evaluation: on the server's own data; None without.
    """

    version: int
    how: str
    digest: bytes
    head: tuple[float, ...]
    evaluation: Evaluation | None = None


async def note(store: Store, found: Calibrated, now: float) -> None:
    """Journal what was made of a version, without its evaluation."""
    row = (found.version, found.how, found.digest, json.dumps(found.head), now)
    sql = "INSERT OR REPLACE INTO calibrated (version, how, digest, head, made_at) VALUES (?, ?, ?, ?, ?)"
    await store.journal.write(lambda db: db.execute(sql, row))


async def note_evaluation(store: Store, version: int, evaluation: Evaluation) -> None:
    """Journal how the finished model of a version does."""
    row = (json.dumps(evaluation_row(evaluation)), version)
    await store.journal.write(lambda db: db.execute("UPDATE calibrated SET evaluation = ? WHERE version = ?", row))


def newest(store: Store) -> Calibrated | None:
    """The newest finished model; None before there is one."""
    rows = store.journal.read("SELECT * FROM calibrated ORDER BY version DESC LIMIT 1")
    if not rows:
        return None
    row = rows[0]
    evaluation = evaluation_of(json.loads(row["evaluation"])) if row["evaluation"] else None
    return Calibrated(row["version"], row["how"], row["digest"], tuple(json.loads(row["head"])), evaluation)
