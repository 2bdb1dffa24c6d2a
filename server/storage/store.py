"""What the server knows for certain: the journal of facts and the blobs they speak of.

A fact is on disk before anybody is told of it. Restart = replay: `round.py` looks at the last round's row and goes on
from the stage that is written there.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from roughfed.errors import Conflict
from roughfed.journal import Journal
from roughfed.server.storage.lineage import DEFAULT, Lineage, insert_version
from roughfed.server.storage.schema import SCHEMA
from roughfed.types import Evaluation, Receipt, Signed, Spec, UpdateStatement
from roughfed.wire.job_facts import decode_facts, encode_facts
from roughfed.wire.session import decode_spec, encode_spec
from roughfed.wire.updates import decode_statement

NEVER = 1 << 62
"""A round number beyond all."""

NOTHING: Mapping[str, Sequence[int]] = MappingProxyType({})
NOBODY: Mapping[str, Mapping[str, Sequence[int]]] = MappingProxyType({})
ACCEPTED = ""
LATE, GONE, LEFT = "late", "gone", "left-behind"
VOID = "void"
"""Verdict of a client whose group gave no sum through no fault of its own."""

EVERYBODY = "*"
"""Source of an evaluation that is the sum of the accepted clients': no client can have this name."""
ABSENT = (LATE, GONE, LEFT)

Of = Literal["global", "personal", "alone"]
"""What was evaluated: the version itself, the clients' own models, or what each trained without the others."""


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One round as journaled. `outcome` is None while it is open; `sets` is None before the verdicts.

    Attributes:
        sets: client -> "" (its update counts), a reason of `ABSENT` (none came), or the reason it is left out.
        facts: what came with the jobs.
        sums: of the statistics of those whose update counts, by name.
        cluster: whose round it is; "0" where there are none.
        reason: why it was abandoned.
    """

    round: int
    header: Signed
    cohort: tuple[str, ...]
    goal: int
    opened_at: float
    sets: dict[str, str] | None
    outcome: str | None
    summary: dict[str, object] | None
    closed_at: float | None = None
    facts: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    sums: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])
    cluster: str = DEFAULT
    reason: str = ""

    @property
    def accepted(self) -> list[str]:
        """Clients whose update counts."""
        return [client for client, reason in (self.sets or {}).items() if reason == ACCEPTED]

    @property
    def dropped(self) -> list[str]:
        """Clients that sent no update in time."""
        return [client for client, reason in (self.sets or {}).items() if reason in ABSENT]

    @property
    def excluded(self) -> dict[str, str]:
        """Clients whose update is left out, or that refused or failed their job: client -> reason."""
        return {client: why for client, why in (self.sets or {}).items() if why != ACCEPTED and why not in ABSENT}


@dataclass(frozen=True, slots=True)
class ReceivedUpdate:
    """A receipt with the statement behind it.

    Attributes:
        norm: L2 norm of the update; None where it is not known (a masked update, or an older journal).
    """

    receipt: Receipt
    statement: UpdateStatement
    signed: Signed
    norm: float | None = None


class Store:
    """The server's state directory: journal.db, models/, spool/."""

    def __init__(self, folder: Path, *, on_commit: Callable[[float], None] | None = None) -> None:
        """Open or create it."""
        self.folder = folder
        for name in ("models", "spool"):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.journal = Journal(folder / "journal.db", SCHEMA, on_commit=on_commit)
        self.lineage = Lineage(self.journal)

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()

    def sizes(self) -> dict[str, int]:
        """Bytes on disk: the journal's, and those of models and spool."""
        journal = sum(path.stat().st_size for path in self.folder.glob("journal.db*"))
        blobs = 0
        for name in ("models", "spool"):
            for path in (self.folder / name).iterdir():
                with suppress(FileNotFoundError):  # deleted meanwhile
                    blobs += path.stat().st_size
        return {"journal_bytes": journal, "blob_bytes": blobs}

    # -- the run ------------------------------------------------------------------------------------------------------

    def run(self) -> tuple[str, Spec] | None:
        """Run id and Spec; None before the first start."""
        rows = self.journal.read("SELECT id, spec FROM run")
        return (rows[0]["id"], decode_spec(rows[0]["spec"])) if rows else None

    async def create_run(
        self, run: str, spec: Spec, digest: bytes, now: float, *, began: Mapping[str, str] | None = None
    ) -> None:
        """Journal the run, version 0 of its model, and the settings it began with."""
        row = (run, encode_spec(spec), now, None if began is None else json.dumps(dict(began)))

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO run (id, spec, created_at, began) VALUES (?, ?, ?, ?)", row)
            db.execute("INSERT INTO models (version, digest, round, committed_at) VALUES (0, ?, 0, ?)", (digest, now))

        await self.journal.write(work)

    def began(self) -> dict[str, str] | None:
        """The settings that the run began with; None if they were not noted."""
        text = self.journal.read("SELECT began FROM run")[0]["began"]
        return None if text is None else json.loads(text)

    def finished(self) -> str | None:
        """Why the run is over; None while it goes on."""
        return self.journal.read("SELECT finished FROM run")[0]["finished"]

    async def set_finished(self, reason: str | None) -> None:
        """Mark the run as over, or (None) as going on again."""
        await self.journal.write(lambda db: db.execute("UPDATE run SET finished = ?", (reason,)))

    # -- models -------------------------------------------------------------------------------------------------------

    def model_path(self, digest: bytes) -> Path:
        """Where a model's safetensors file lies; the name is its content's digest."""
        return self.folder / "models" / f"{digest.hex()}.safetensors"

    def latest_model(self) -> tuple[int, bytes]:
        """(version, digest) of the newest model."""
        row = self.journal.read("SELECT version, digest FROM models ORDER BY version DESC LIMIT 1")[0]
        return row["version"], row["digest"]

    def model(self, version: int) -> bytes | None:
        """Digest of a version."""
        rows = self.journal.read("SELECT digest FROM models WHERE version = ?", version)
        return rows[0]["digest"] if rows else None

    def versions(self) -> list[tuple[int, bytes]]:
        """All (version, digest), oldest first; the files of old versions may be gone (`model.keep_last`)."""
        return [(r["version"], r["digest"]) for r in self.journal.read("SELECT * FROM models ORDER BY version")]

    # -- rounds -------------------------------------------------------------------------------------------------------

    async def open_round(self, row: RoundRow) -> None:
        """Journal header and cohort, before any job is sent."""
        values = (row.round, row.header.body, row.header.signature, row.header.signer)
        rest = (json.dumps(row.cohort), row.goal, row.opened_at, encode_facts(row.facts), row.cluster)
        sql = (
            "INSERT INTO rounds (round, header, signature, signer, cohort, goal, opened_at, facts, cluster) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        await self.journal.write(lambda db: db.execute(sql, values + rest))

    def last_round(self) -> RoundRow | None:
        """The newest round."""
        rows = self.journal.read("SELECT * FROM rounds ORDER BY round DESC LIMIT 1")
        return _round_row(rows[0]) if rows else None

    def last_part(self, client: str) -> RoundRow | None:
        """The newest round that has an update of this client."""
        sql = (
            "SELECT * FROM rounds WHERE round = "
            "(SELECT round FROM receipts WHERE client = ? ORDER BY round DESC LIMIT 1)"
        )
        rows = self.journal.read(sql, client)
        return _round_row(rows[0]) if rows else None

    def rounds(self, *, after: int = 0, until: int = NEVER) -> list[RoundRow]:
        """Rounds beyond a number, and up to another one, oldest first."""
        sql = "SELECT * FROM rounds WHERE round > ? AND round <= ? ORDER BY round"
        return [_round_row(row) for row in self.journal.read(sql, after, until)]

    def committed(self, *, before: int = NEVER, most: int = 1) -> list[RoundRow]:
        """The newest committed rounds before a number, newest first."""
        sql = "SELECT * FROM rounds WHERE round < ? AND outcome = 'committed' ORDER BY round DESC LIMIT ?"
        return [_round_row(row) for row in self.journal.read(sql, before, most)]

    def outcomes(self) -> dict[str | None, int]:
        """How many rounds came to which end; None: the open one."""
        sql = "SELECT outcome, COUNT(*) AS number FROM rounds GROUP BY outcome"
        return {row["outcome"]: row["number"] for row in self.journal.read(sql)}

    def counted(self, *, after: int, before: int) -> set[str]:
        """The clients that counted in the committed rounds between two numbers."""
        sql = (
            "SELECT DISTINCT verdict.key AS client FROM rounds, json_each(rounds.sets) AS verdict "
            "WHERE round > ? AND round < ? AND outcome = 'committed' AND verdict.value = ''"
        )
        return {row["client"] for row in self.journal.read(sql, after, before)}

    def judged(self, *, after: int = 0) -> list[RoundRow]:
        """Rounds beyond a number that have their verdicts, oldest first."""
        sql = "SELECT * FROM rounds WHERE round > ? AND sets IS NOT NULL ORDER BY round"
        return [_round_row(row) for row in self.journal.read(sql, after)]

    def last_judged(self) -> RoundRow | None:
        """The newest round that has its verdicts."""
        rows = self.journal.read("SELECT * FROM rounds WHERE sets IS NOT NULL ORDER BY round DESC LIMIT 1")
        return _round_row(rows[0]) if rows else None

    async def set_sets(
        self,
        number: int,
        sets: Mapping[str, str],
        *,
        sums: Mapping[str, Sequence[int]] = NOTHING,
        statics: Mapping[str, Mapping[str, Sequence[int]]] = NOBODY,
    ) -> None:
        """Journal the verdicts, and what those who count say together.

        Args:
            number: of the round.
            sets: client -> "" (accepted) or the reason it is excluded for.
            sums: of their statistics.
            statics: source -> its class counts: of a client, or of a masked round; its newest replace the older.
        """
        row = (json.dumps(dict(sets), sort_keys=True), _plain(sums), number)
        rows = [(source, _plain(values)) for source, values in statics.items()]

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE rounds SET sets = ?, sums = ? WHERE round = ?", row)
            sql = "INSERT INTO statics VALUES (?, ?) ON CONFLICT DO UPDATE SET statistics = excluded.statistics"
            db.executemany(sql, rows)  # not REPLACE: a source keeps its place among the rows

        await self.journal.write(work)

    def statics(self) -> list[dict[str, list[int]]]:
        """Class counts of all sources, in the order in which they were first told."""
        return [json.loads(row[0]) for row in self.journal.read("SELECT statistics FROM statics ORDER BY rowid")]

    def sums_with(self, name: str, *, most: int = 16) -> list[dict[str, list[int]]]:
        """Sums of the last rounds that have a statistic, newest first."""
        sql = "SELECT sums FROM rounds WHERE sums LIKE ? ORDER BY round DESC LIMIT ?"
        return [json.loads(row["sums"]) for row in self.journal.read(sql, f'%"{name}"%', most)]

    async def commit(self, number: int, *, version: int, digest: bytes, now: float, base: int | None = None) -> None:
        """The round's model, made from the version `base` (None: the one before), becomes the newest version."""

        def work(db: sqlite3.Connection) -> None:
            insert_version(db, version, digest, round_number=number, now=now, base=base)
            db.execute("UPDATE rounds SET outcome = 'committed', closed_at = ? WHERE round = ?", (now, number))

        await self.journal.write(work)

    async def abandon(self, number: int, reason: str, now: float) -> None:
        """The round ends without a new version."""
        sql = "UPDATE rounds SET outcome = 'abandoned', reason = ?, closed_at = ? WHERE round = ?"
        await self.journal.write(lambda db: db.execute(sql, (reason, now, number)))

    async def take_back(self, number: int, reason: str, now: float) -> None:
        """Let a round that was committed have brought nothing: its version is none any more."""

        def work(db: sqlite3.Connection) -> None:
            made = "SELECT version FROM models WHERE round = ?"
            db.execute(f"DELETE FROM evaluations WHERE version IN ({made})", (number,))  # noqa: S608
            db.execute("DELETE FROM models WHERE round = ?", (number,))
            sql = "UPDATE rounds SET outcome = 'abandoned', reason = ?, closed_at = ? WHERE round = ?"
            db.execute(sql, (reason, now, number))

        await self.journal.write(work)

    async def set_summary(self, number: int, summary: Mapping[str, object]) -> None:
        """Keep what the report will say of the round."""
        text = json.dumps(summary)
        await self.journal.write(lambda db: db.execute("UPDATE rounds SET summary = ? WHERE round = ?", (text, number)))

    # -- updates ------------------------------------------------------------------------------------------------------

    async def add_receipt(self, update: ReceivedUpdate, now: float) -> bool:
        """Journal a receipt; see `submit_receipt`."""
        return await self.submit_receipt(update, now)

    def submit_receipt(self, update: ReceivedUpdate, now: float) -> asyncio.Future[bool]:
        """Hand a receipt over to the journal; its primary key (round, client) makes an update count at most once.

        It is handed over when this returns: a later `settle` waits for it. The result says whether it is new.

        The same bytes again (two connections that both came to the end) change nothing.

        Raises:
            Conflict: other bytes have a receipt.
        """
        r = update.receipt
        signed = (update.signed.body, update.signed.signature)
        row = (r.round, r.client, r.digest, r.size_bytes, *signed, r.signature, now, update.norm)

        def work(db: sqlite3.Connection) -> bool:
            sql = "SELECT digest FROM receipts WHERE round = ? AND client = ?"
            known = db.execute(sql, (r.round, r.client)).fetchone()
            if known is None:
                db.execute("INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            elif known["digest"] != r.digest:
                raise Conflict("another update of this round was received under this id")
            return known is None

        return self.journal.submit(work)

    def receipts(self, run: str, number: int) -> dict[str, ReceivedUpdate]:
        """Receipts of a round by client, in order of the clients' names."""
        rows = self.journal.read("SELECT * FROM receipts WHERE round = ? ORDER BY client", number)
        return {row["client"]: _received(run, row) for row in rows}

    def receipt(self, run: str, number: int, client: str) -> ReceivedUpdate | None:
        """The receipt of one client."""
        rows = self.journal.read("SELECT * FROM receipts WHERE round = ? AND client = ?", number, client)
        return _received(run, rows[0]) if rows else None

    async def settle(self) -> None:
        """Return when every fact that was handed over before this call is committed, and can be read."""
        if not self.journal.settled:
            await self.journal.write(lambda _: None)

    async def add_refusal(self, number: int, client: str, *, digest: bytes, why: tuple[str, str], now: float) -> None:
        """Journal that an update was refused at admission: why = (reason, detail)."""
        row = (number, client, digest, *why, now)
        sql = "INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?, ?, ?)"
        await self.journal.write(lambda db: db.execute(sql, row))

    def refusals(self, number: int) -> dict[str, tuple[bytes, str, str]]:
        """Refused updates of a round: client -> (digest, reason, detail)."""
        rows = self.journal.read("SELECT * FROM refusals WHERE round = ? ORDER BY client", number)
        return {row["client"]: (row["digest"], row["reason"], row["detail"]) for row in rows}

    # -- evaluations and revocations ----------------------------------------------------------------------------------

    async def add_evaluations(
        self, version: int, evaluations: Iterable[tuple[str, Evaluation]], *, kind: Of = "global"
    ) -> None:
        """Keep evaluations by source (a client's name, or "" for the server's own data).

        Args:
            version: of the global model.
            evaluations: (source, what was found).
            kind: whether they are of that version, of what clients made of it, or of what they trained alone till then.
        """
        rows = [(version, source, kind, json.dumps(evaluation_row(e))) for source, e in evaluations]
        sql = "INSERT OR REPLACE INTO evaluations (version, source, kind, evaluation) VALUES (?, ?, ?, ?)"
        await self.journal.write(lambda db: db.executemany(sql, rows))

    def evaluations(self, version: int, *, kind: Of = "global", source: str | None = None) -> dict[str, Evaluation]:
        """Evaluations of a version by source, of all or of one; see `add_evaluations`."""
        sql = "SELECT * FROM evaluations WHERE version = ? AND kind = ? AND source = ifnull(?, source) ORDER BY source"
        rows = self.journal.read(sql, version, kind, source)
        return {row["source"]: evaluation_of(json.loads(row["evaluation"])) for row in rows}

    def own_evaluations(self, *, before: int) -> list[Evaluation]:
        """What the server's own data said of the versions before one, oldest first."""
        sql = (
            "SELECT evaluation FROM evaluations WHERE source = '' AND kind = 'global' AND version < ? ORDER BY version"
        )
        return [evaluation_of(json.loads(row["evaluation"])) for row in self.journal.read(sql, before)]

    async def revoke(self, client: str, now: float) -> None:
        """Refuse a client from now on; nobody vouches for it any more."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR IGNORE INTO revoked VALUES (?, ?)", (client, now))
            db.execute("DELETE FROM vouched WHERE client = ?", (client,))

        await self.journal.write(work)

    def revoked(self) -> set[str]:
        """Names that are refused."""
        return {row["client"] for row in self.journal.read("SELECT client FROM revoked")}


def _round_row(row: sqlite3.Row) -> RoundRow:
    return RoundRow(
        round=row["round"],
        header=Signed(row["header"], row["signature"], row["signer"]),
        cohort=tuple(json.loads(row["cohort"])),
        goal=row["goal"],
        opened_at=row["opened_at"],
        sets=json.loads(row["sets"]) if row["sets"] is not None else None,
        outcome=row["outcome"],
        summary=json.loads(row["summary"]) if row["summary"] is not None else None,
        closed_at=row["closed_at"],
        facts=decode_facts(row["facts"]),
        sums=json.loads(row["sums"]) if row["sums"] else {},
        cluster=row["cluster"],
        reason=row["reason"] or "",
    )


def _plain(values: Mapping[str, Sequence[int]]) -> str:
    return json.dumps({name: list(numbers) for name, numbers in values.items()})


def _received(run: str, row: sqlite3.Row) -> ReceivedUpdate:
    receipt = Receipt(run, row["round"], row["client"], row["digest"], row["size_bytes"], row["receipt_signature"])
    signed = Signed(row["statement"], row["statement_signature"], row["client"])
    return ReceivedUpdate(receipt, decode_statement(row["statement"]), signed, row["norm"])


def evaluation_row(e: Evaluation) -> list[object]:
    """An evaluation as JSON carries it."""
    counts = [e.class_count, e.class_correct, e.absolute_error_sum, e.confusion, e.calibration]
    return [e.model_digest.hex(), e.num_examples, e.loss_sum, *counts]


def evaluation_of(row: list[Any]) -> Evaluation:
    """What `evaluation_row` gave."""
    digest, num_examples, loss_sum, count, correct, error_sum, *more = row
    confusion, calibration = more or ((), ())  # a journal from before them has neither
    return Evaluation(
        model_digest=bytes.fromhex(digest),
        num_examples=num_examples,
        loss_sum=loss_sum,
        class_count=tuple(count),
        class_correct=tuple(correct),
        absolute_error_sum=error_sum,
        confusion=tuple(confusion),
        calibration=tuple(calibration),
    )
