"""The journal: shared commits, work that fails alone, disks that refuse, files that come back."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from roughfed.errors import StorageError
from roughfed.journal import Journal, connect
from roughfed.upgrade import upgrade

SCHEMA = ("CREATE TABLE facts (name TEXT PRIMARY KEY)",)


@pytest.fixture
def commits() -> list[float]:
    return []


@pytest.fixture
def journal(tmp_path: Path, commits: list[float]) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db", SCHEMA, on_commit=commits.append)
    yield journal
    journal.close()


async def add(journal: Journal, name: str) -> str:
    def work(db: sqlite3.Connection) -> str:
        db.execute("INSERT INTO facts VALUES (?)", (name,))
        return name

    return await journal.write(work)


def facts(journal: Journal) -> list[str]:
    return [row["name"] for row in journal.read("SELECT name FROM facts ORDER BY name")]


async def behind_a_closed_door(journal: Journal, *names: str) -> list[str | BaseException]:
    """Hold the writer thread until all of the names wait, so that they meet in one batch."""
    door = threading.Event()
    first = asyncio.create_task(journal.write(lambda _: door.wait(10)))
    rest = [asyncio.create_task(add(journal, name)) for name in names]
    await asyncio.sleep(0)
    door.set()
    return (await asyncio.gather(first, *rest, return_exceptions=True))[1:]


def test_writes_that_wait_together_share_a_commit(journal: Journal, commits: list[float]) -> None:
    names = [f"{i:03d}" for i in range(200)]
    assert asyncio.run(behind_a_closed_door(journal, *names)) == names
    assert facts(journal) == names
    assert len(commits) <= 3


def test_a_failing_work_undoes_only_itself(journal: Journal) -> None:
    async def scenario() -> list[object]:
        door = threading.Event()

        def half(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO facts VALUES ('half')")
            raise KeyError("half")

        works = [
            lambda _: door.wait(10),
            lambda db: db.execute("INSERT INTO facts VALUES ('a')").rowcount,
            half,
            lambda db: db.execute("INSERT INTO facts VALUES ('a')").rowcount,  # twice: an IntegrityError
            lambda db: db.execute("INSERT INTO nothing VALUES (1)").rowcount,  # a mistake in the SQL, not the disk
            lambda db: db.execute("INSERT INTO facts VALUES ('b')").rowcount,
        ]
        waiting = [asyncio.create_task(journal.write(work)) for work in works]
        await asyncio.sleep(0)
        door.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    kinds = [type(outcome) for outcome in asyncio.run(scenario())]
    assert kinds == [bool, int, KeyError, sqlite3.IntegrityError, sqlite3.OperationalError, int]
    assert facts(journal) == ["a", "b"]


def test_what_was_acknowledged_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    first = Journal(path, SCHEMA)
    asyncio.run(add(first, "a"))
    copy = tmp_path / "copy.db"  # what a kill -9 would leave: the files as they are, nothing closed
    for suffix in ("", "-wal"):
        (tmp_path / f"copy.db{suffix}").write_bytes((tmp_path / f"j.db{suffix}").read_bytes())
    for reopened in (Journal(copy, SCHEMA), Journal(path, SCHEMA)):
        assert facts(reopened) == ["a"]
        reopened.close()
    first.close()


def test_closing_finishes_what_waits_and_refuses_what_comes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db", SCHEMA)

    async def scenario() -> None:
        waiting = [asyncio.create_task(add(journal, name)) for name in "abc"]
        await asyncio.sleep(0)
        await asyncio.to_thread(journal.close)
        assert await asyncio.gather(*waiting) == ["a", "b", "c"]
        with pytest.raises(StorageError, match="closed"):
            await add(journal, "late")

    asyncio.run(scenario())
    again = Journal(tmp_path / "j.db", SCHEMA)
    assert facts(again) == ["a", "b", "c"]
    again.close()


def test_a_caller_that_gave_up_does_not_stop_the_writer(journal: Journal) -> None:
    async def scenario() -> None:
        door = threading.Event()
        abandoned = asyncio.create_task(journal.write(lambda _: door.wait(10)))
        fact = asyncio.create_task(add(journal, "stands all the same"))
        await asyncio.sleep(0)
        abandoned.cancel()
        fact.cancel()
        await asyncio.gather(abandoned, fact, return_exceptions=True)
        asyncio.get_running_loop().call_later(0, door.set)

    asyncio.run(scenario())  # its loop is closed when the writer comes to settle
    assert asyncio.run(add(journal, "next")) == "next"
    assert facts(journal) == ["next", "stands all the same"]


def test_a_locked_database_refuses_and_recovers(journal: Journal) -> None:
    asyncio.run(journal.write(lambda _: None))  # the writer's connection exists
    journal._writer_db.execute("PRAGMA busy_timeout = 30")
    other = connect(journal.path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked"):
        asyncio.run(add(journal, "a"))
    other.execute("ROLLBACK")
    other.close()
    assert asyncio.run(add(journal, "a")) == "a"


def test_a_full_disk_fails_the_whole_commit_and_nothing_else(journal: Journal) -> None:
    asyncio.run(add(journal, "before"))
    pages = journal._writer_db.execute("PRAGMA page_count").fetchone()[0]
    journal._writer_db.execute(f"PRAGMA max_page_count = {pages}")
    outcomes = asyncio.run(behind_a_closed_door(journal, "a", "x" * 100_000, "b"))
    assert [type(outcome) for outcome in outcomes] == [StorageError] * 3
    assert facts(journal) == ["before"]
    journal._writer_db.execute("PRAGMA max_page_count = 100000")
    assert asyncio.run(behind_a_closed_door(journal, "a", "b")) == ["a", "b"]


def test_each_schema_step_runs_once(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    steps = (*SCHEMA, "INSERT INTO facts VALUES ('from step two'); CREATE TABLE more (x INTEGER)")
    for known in (1, 2, 2):
        Journal(path, steps[:known]).close()
    db = connect(path)
    assert [tuple(row) for row in db.execute("SELECT name FROM facts")] == [("from step two",)]
    assert db.execute("PRAGMA user_version").fetchone()[0] == 2
    db.close()


def test_a_newer_schema_and_a_broken_step_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    Journal(path, SCHEMA).close()
    with pytest.raises(StorageError, match="newer roughfed"):
        Journal(path, ())
    db = connect(path)
    with pytest.raises(StorageError):
        upgrade(db, (*SCHEMA, "CREATE TABLE half (x); CREATE TABLE facts (name)"), path)
    db.close()
    reopened = connect(path)
    assert reopened.execute("PRAGMA user_version").fetchone()[0] == 1
    assert reopened.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall() == []
    reopened.close()


@pytest.mark.parametrize("durable", [True, False])
def test_the_file_is_private_and_as_durable_as_asked(tmp_path: Path, durable: bool) -> None:
    db = connect(tmp_path / "j.db", durable=durable)
    assert (tmp_path / "j.db").stat().st_mode & 0o777 == 0o600
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert db.execute("PRAGMA synchronous").fetchone()[0] == (2 if durable else 1)
    db.close()


def test_what_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, but quite long enough to be mistaken for one" * 20)
    for path in (tmp_path / "missing" / "j.db", tmp_path / "text.db", tmp_path):
        with pytest.raises(StorageError, match="cannot open"):
            Journal(path, SCHEMA)


CLOSED_UNDER_READERS = """
import pathlib, sqlite3, sys, threading
from roughfed.journal import Journal

for number in range(10):
    journal = Journal(pathlib.Path(sys.argv[1], f"{number}.db"), ["CREATE TABLE t (x)"], durable=False)
    reading = threading.Event()

    def read():
        try:
            while True:
                journal.read("SELECT count(*) FROM sqlite_master WHERE name != ?", "x")
                reading.set()
        except sqlite3.ProgrammingError:
            pass  # it is closed

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    reading.wait()
    journal.close()
    for thread in threads:
        thread.join()
"""


def test_a_journal_that_is_closed_under_its_readers_takes_no_process_with_it(tmp_path: Path) -> None:
    """Work beside a round reads in threads that nobody waits for."""
    done = subprocess.run([sys.executable, "-c", CLOSED_UNDER_READERS, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == 0


def attach(journal: Journal, name: str) -> None:
    journal.attach(lambda db: db.execute("INSERT INTO facts VALUES (?)", (name,)))


def test_what_is_attached_is_committed_with_what_comes_next(journal: Journal, commits: list[float]) -> None:
    attach(journal, "a")
    attach(journal, "b")
    assert facts(journal) == []
    asyncio.run(add(journal, "c"))
    assert facts(journal) == ["a", "b", "c"]
    assert len(commits) == 1


def test_what_is_attached_stands_or_falls_with_what_comes_next(journal: Journal) -> None:
    asyncio.run(add(journal, "c"))
    attach(journal, "a")
    with pytest.raises(sqlite3.IntegrityError):
        asyncio.run(add(journal, "c"))
    asyncio.run(add(journal, "d"))
    assert facts(journal) == ["c", "d"]


def test_a_journal_is_not_settled_while_a_write_is_under_way_that_nobody_waits_for(journal: Journal) -> None:
    door = threading.Event()

    async def leave() -> tuple[bool, bool]:
        waiting = asyncio.create_task(journal.write(lambda _: door.wait(10)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        before = journal.settled
        door.set()
        await add(journal, "a")
        return before, journal.settled

    assert asyncio.run(leave()) == (False, True)
