"""The ledger: `ledger.jsonl` in the state directory, a line for each client and round, written after the round.

A side tap: no round waits for it, and none fails because of it. Everything that it says follows from what the journal
knows of a round. Its lines are journaled first, with the place where they belong and the digest that the file ends with
then; they leave the journal once they are in the file. So a `kill -9` at any point leaves neither a gap nor a line that
is there twice, and the journal knows when the end of the file was cut off (docs/decisions/0024-ledger.md).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from roughfed import crash
from roughfed.crypto.identity import IdentityKey
from roughfed.errors import StorageError
from roughfed.files import disk_errors, fsync_folder
from roughfed.server.extensions.ledger.entries import LedgerState, RoundFacts, check
from roughfed.server.extensions.ledger.hash_chain import FIRST, VERSION, Writer, digest_of, read
from roughfed.server.extensions.ledger.rewards import Rewards
from roughfed.server.storage.layout import LEDGER
from roughfed.server.storage.store import RoundRow, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LedgerPart:
    """The lines of one round, as the journal knows them; of round 0 the first line of the ledger.

    Attributes:
        round: its number.
        start: where they begin in the file, in bytes.
        size: of them all, in bytes.
        lines: of the ledger up to their end.
        head: digest of the last one.
        data: they themselves, as long as they are not in the file.
    """

    round: int
    start: int
    size: int
    lines: int
    head: str
    data: bytes | None = None

    @property
    def stop(self) -> int:
        """Where they end in the file, in bytes."""
        return self.start + self.size


class Damaged(StorageError):
    """The file is not what was written to it: nothing is added to it any more."""

    reason = "ledger"


class LedgerFile:
    """Table `ledger` of the journal, and the file that it leads."""

    def __init__(self, store: Store, key: IdentityKey, *, run: str, server: str) -> None:
        """Nothing is read yet."""
        self._store, self._key, self._run, self._server = store, key, run, server
        self.path = store.folder / LEDGER
        self._book: LedgerState | None = None
        self._complained = ""
        self.given = Rewards()
        """Shares and levels after the last round that was written by this process."""

    async def catch_up(
        self, facts: Callable[[RoundRow], RoundFacts | None], scoring: Callable[[], int | None] = lambda: None
    ) -> None:
        """Write what is missing of the rounds that are over. What the disk refuses is tried again the next time.

        Args:
            facts: of a round; None where they are not known yet, which ends it.
            scoring: number of the round whose scores are still to come, which ends it, too.
        """
        try:
            await self._begin()
            while True:
                waited = scoring()  # asked before the row is read: scores that come meanwhile are in it
                row = self._next()
                if row is None or row.round == waited or (known := facts(row)) is None:
                    break
                await self._note(known, facts)
            await self._write()
        except StorageError as error:
            if str(error) != self._complained:
                log.error("the ledger waits: %s", error)
            self._complained = str(error)
        else:
            self._complained = ""

    def _next(self) -> RoundRow | None:
        last = newest(self._store)
        rows = self._store.judged(after=last.round if last is not None else 0)
        return rows[0] if rows else None

    async def _begin(self) -> None:
        if newest(self._store) is None:
            writer = Writer()
            writer.add_signed({"kind": "begin", "ledger": VERSION, "run": self._run, "server": self._server}, self._key)
            data = writer.data
            await self._journal(LedgerPart(0, 0, len(data), writer.seq, writer.head, data))

    async def _note(self, known: RoundFacts, facts: Callable[[RoundRow], RoundFacts | None]) -> None:
        """Journal the lines of the next round."""
        before = newest(self._store)
        if before is None:
            raise StorageError("the ledger has no first line")
        if self._book is None:
            self._book = await asyncio.to_thread(self._replayed, before, facts)
        book, self._book = self._book, None  # a round that cannot be journaled must not be in it
        entries = await asyncio.to_thread(book.lines, known)
        writer = Writer(before.head, before.lines)
        for entry in entries[:-1]:
            writer.add(entry)
        writer.add_signed(entries[-1], self._key)
        data = writer.data
        part = LedgerPart(known.round, before.stop, len(data), writer.seq, writer.head, data)
        await self._journal(part, {"shares": book.given.shares, "levels": book.given.levels} if book.method else {})
        crash.point("ledger-journaled")
        self._book, self.given = book, book.given

    def _replayed(self, last: LedgerPart, facts: Callable[[RoundRow], RoundFacts | None]) -> LedgerState:
        """What is known after the rounds that are written: out of the lines, or, if they are damaged, the journal."""
        pending = waiting(self._store)
        with disk_errors(f"read {self.path}"):
            data = self.path.read_bytes() if self.path.exists() else b""
        data = data[: pending[0].start if pending else last.stop] + b"".join(part.data or b"" for part in pending)
        reading = read(data, head=last.head)
        book, problem = check(reading.entries)
        if reading.problem is None and problem is None:
            return book
        book = LedgerState()
        for row in self._store.judged():
            if row.round <= last.round and (known := facts(row)) is not None:
                book.lines(known)
        return book

    async def _journal(self, part: LedgerPart, given: dict[str, Any] | None = None) -> None:
        """Journal a part; `given` is put into the summary of its round, for the report."""
        row = (part.round, part.start, part.size, part.lines, part.head, part.data)

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?)", row)
            if given:
                (text,) = db.execute("SELECT summary FROM rounds WHERE round = ?", (part.round,)).fetchone()
                summary: dict[str, Any] = json.loads(text) if text else {}
                summary["contribution"] = {**summary.get("contribution", {}), **given}
                db.execute("UPDATE rounds SET summary = ? WHERE round = ?", (json.dumps(summary), part.round))

        await self._store.journal.write(work)

    async def _write(self) -> None:
        """Put what is journaled into the file."""
        for part in waiting(self._store):
            await asyncio.to_thread(append, self.path, part, known=newest(self._store, before=part.round))
            if part.round:
                crash.point("ledger-written")
            await self._store.journal.write(partial(_written, part.round))


def _written(round_number: int, db: sqlite3.Connection) -> None:
    db.execute("UPDATE ledger SET lines = NULL WHERE round = ?", (round_number,))


# -- what the journal knows --------------------------------------------------------------------------------------------


def newest(store: Store, *, before: int | None = None) -> LedgerPart | None:
    """The newest lines, or the newest before a round; None where there are none."""
    limit = 1 << 62 if before is None else before
    found = _parts(store, "SELECT * FROM ledger WHERE round < ? ORDER BY round DESC LIMIT 1", limit)
    return found[0] if found else None


def waiting(store: Store) -> list[LedgerPart]:
    """What is journaled and perhaps not in the file yet, oldest first."""
    return _parts(store, "SELECT * FROM ledger WHERE lines IS NOT NULL ORDER BY round")


def _parts(store: Store, sql: str, *args: object) -> list[LedgerPart]:
    rows: Iterable[sqlite3.Row] = store.journal.read(sql, *args)
    return [LedgerPart(r["round"], r["start"], r["size"], r["count"], r["head"], r["lines"]) for r in rows]


# -- the file ----------------------------------------------------------------------------------------------------------


def append(path: Path, part: LedgerPart, *, known: LedgerPart | None) -> None:
    """Put lines where they belong, and nothing behind them; what a crash left there half is written over.

    Args:
        path: of the ledger.
        part: with its lines.
        known: the part before it.

    Raises:
        Damaged: what lies before is not what was written.
        StorageError: the disk refused.
    """
    if part.data is None:
        return
    with disk_errors(f"write {path}"):
        fresh = not path.exists()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _check_end(path, fd, part, known)
            os.ftruncate(fd, part.start)
            data = memoryview(part.data)
            while data:
                data = data[os.pwrite(fd, data, part.stop - len(data)) :]
            os.fsync(fd)
        finally:
            os.close(fd)
    if fresh:
        fsync_folder(path.parent)


def _check_end(path: Path, fd: int, part: LedgerPart, known: LedgerPart | None) -> None:
    size = os.fstat(fd).st_size
    if size < part.start:
        raise Damaged(f"{path} has {size} bytes, and {part.start} were written; see `roughfed ledger verify`")
    end = b"" if known is None else os.pread(fd, known.size, known.start)
    head = digest_of(end.rstrip(b"\n").rsplit(b"\n", 1)[-1]) if known is not None else FIRST
    if known is not None and head != known.head:
        raise Damaged(f"{path} was changed since it was written; see `roughfed ledger verify`")
    if size > part.stop:
        raise Damaged(f"{path} has lines that nobody wrote; see `roughfed ledger verify`")
