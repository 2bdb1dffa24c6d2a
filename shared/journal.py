"""The journal: facts in SQLite (WAL), one writer thread, commits shared by everything that waits.

A commit with `synchronous=FULL` costs milliseconds whatever is in it, so the writer takes all that is waiting into one
transaction: sixteen receipts that arrive together cost one sync, and each caller still knows, when its call returns,
that its fact survives a power cut.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from roughfed.errors import StorageError
from roughfed.upgrade import upgrade

CACHE_KIB = 256
"""Of pages in a connection's own memory. SQLite's default is 2 MiB, which two connections fill over hundreds of rounds;
what is read again soon is in the kernel's cache anyway."""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]


def connect(path: Path, *, durable: bool = True) -> sqlite3.Connection:
    """Open a database the way every roughfed process does.

    Args:
        path: the file; created with mode 0600.
        durable: `synchronous=FULL` (an acknowledged fact survives a power cut) or NORMAL (it survives a crash).

    Raises:
        StorageError: it cannot be opened.
    """
    try:
        path.touch(mode=0o600)
        db = sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        db.execute("PRAGMA foreign_keys=ON")
        db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"cannot open {path}: {error}") from error
    return db


class Journal:
    """One SQLite file, one writer thread. Reads go through `read`, on the caller's thread."""

    def __init__(
        self,
        path: Path,
        schema: Sequence[str],
        *,
        durable: bool = True,
        on_commit: Callable[[float], None] | None = None,
    ) -> None:
        """Open, and bring the schema up to date (`roughfed.upgrade`).

        Args:
            path: the database file.
            schema: scripts, one a schema version.
            durable: see `connect`.
            on_commit: told the seconds of every commit (a metric).
        """
        self.path = path
        self._on_commit = on_commit
        self._writer_db = connect(path, durable=durable)
        try:
            upgrade(self._writer_db, schema, path)
            self._reader_db = connect(path, durable=durable)
        except BaseException:
            self._writer_db.close()
            raise
        self._queue: queue.SimpleQueue[tuple[Work, Callable[[Any, BaseException | None], None]] | None] = (
            queue.SimpleQueue()
        )
        self._closed = False
        self._attached: list[Work] = []
        self._unanswered = 0
        self._reading = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` inside the next commit; returns when that is on disk.

        Raises:
            StorageError: the disk refused. Whatever `work` raises undoes `work` alone and is raised here.
        """
        return await self.submit(work)

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Hand `work` over to the next commit.

        It is in the queue when this returns, before anything is awaited: facts are committed in the order of the calls.

        Returns:
            a future that is done when the commit is on disk.

        Raises:
            StorageError: the disk refused. Whatever `work` raises undoes `work` alone and is raised here.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._attached:
            before, self._attached = self._attached, []
            work = partial(_after, before, work)

        def settle(result: Any, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the caller's loop is closed: nobody waits, the fact stands all the same
                loop.call_soon_threadsafe(self._answer, future, result, error)

        if self._closed:
            raise StorageError(f"{self.path} is closed")
        self._queue.put((work, settle))
        self._unanswered += 1
        return future

    def attach(self, work: Work) -> None:
        """Give `work` to whatever is written next: one commit for both, all of it or nothing.

        For a fact that means nothing without the next one. Until then nobody can read it; a crash, or a next write that
        the disk refuses, forgets it.
        """
        self._attached.append(work)

    @property
    def settled(self) -> bool:
        """Whether everything that was handed over is answered: on disk, and read by `read`."""
        return not self._unanswered

    def _answer(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._unanswered -= 1
        _settle(future, result, error)

    def read(self, sql: str, *args: object) -> list[sqlite3.Row]:
        """Rows of a query (committed facts only)."""
        with self._reading:
            return self._reader_db.execute(sql, args).fetchall()

    def changes(self) -> int:
        """A number that is another one after every commit; costs next to nothing."""
        with self._reading:
            return self._reader_db.execute("PRAGMA data_version").fetchone()[0]

    def close(self) -> None:
        """Finish what is waiting and close."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._writer_db.close()
        with self._reading:  # under a thread that reads (beside a round, nobody waits for it) SQLite would crash
            self._reader_db.close()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            batch = [item]
            while not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)
                    break
                batch.append(following)
            self._commit(batch)

    def _commit(self, batch: list[tuple[Work, Callable[[Any, BaseException | None], None]]]) -> None:
        db, began = self._writer_db, time.perf_counter()
        outcomes: list[tuple[Any, BaseException | None]] = []
        try:
            db.execute("BEGIN IMMEDIATE")
            for work, _ in batch:
                outcomes.append(_in_savepoint(db, work))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            failure = StorageError(f"cannot write {self.path}: {error}")
            outcomes = [(None, failure)] * len(batch)
        if self._on_commit is not None:
            self._on_commit(time.perf_counter() - began)
        for (_, settle), (result, problem) in zip(batch, outcomes, strict=True):
            settle(result, problem)


def _in_savepoint(db: sqlite3.Connection, work: Work) -> tuple[Any, BaseException | None]:
    db.execute("SAVEPOINT work")
    try:
        result = work(db)
    except Exception as error:  # handed to the caller, whose mistake it is
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise  # the disk, not the caller: the whole commit fails
        db.execute("ROLLBACK TO work")
        return None, error
    finally:
        if db.in_transaction:
            db.execute("RELEASE work")
    return result, None


def _after(before: Sequence[Work], work: Work, db: sqlite3.Connection) -> Any:
    for each in before:
        each(db)
    return work(db)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # the caller was cancelled; the fact stands all the same
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
