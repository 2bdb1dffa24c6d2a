"""Journals of every earlier schema: they are brought up to date, keep their facts, and stay usable whatever happens."""

import gzip
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from fcntl import LOCK_EX, flock
from pathlib import Path
from types import SimpleNamespace

import pytest

from roughfed import upgrade as module
from roughfed.client.storage import store as client_store
from roughfed.client.storage.store import ClientStore
from roughfed.config.federation import FederationConfig
from roughfed.deploy.cli.command import EXIT_CODES
from roughfed.deploy.cli.faults import describe
from roughfed.errors import StorageError
from roughfed.journal import Journal, connect
from roughfed.lock import LOCK
from roughfed.server.masked.journal import Stages
from roughfed.server.members import member_file
from roughfed.server.members.member_file import MemberFile
from roughfed.server.observe.run_summary import run_summary
from roughfed.server.storage.schema import SCHEMA
from roughfed.server.storage.store import Store
from roughfed.upgrade import NewerSchema, statements, upgrade, version_of
from roughfed.wire.session import decode_header

JOURNALS = Path(__file__).parents[2] / "vectors" / "journals"
SCHEMAS: dict[str, Sequence[str]] = {
    "server": SCHEMA,
    "client": client_store.SCHEMA,
    "members": member_file.SCHEMA,
}
EVERY_STEP = [(name, k) for name, steps in SCHEMAS.items() for k in range(1, len(steps))]
NO_FACTS = ("counters", "shown", "given", "statics_given")
"""Tables that a step drops on purpose; the last three are in the client's ledger (client/disclosure)."""
ELSEWHERE = {"choices": "bits"}
"""Table -> its column that is in that ledger now."""
RENAMED = {"class_rounds": "tier_rounds", "class": "tier"}
"""Tables and columns that have another name now."""

Rows = dict[str, dict[str, object]]


def planted(path: Path, steps: Sequence[str]) -> Rows:
    """A file of this schema with a row in every table; what is in it, by table."""
    with closing(connect(path, durable=False)) as db:
        upgrade(db, steps, path)
        for at, table in enumerate(tables(db)):
            columns = [row["name"] for row in db.execute(f"PRAGMA table_info({table})")]
            kinds = [row["type"] for row in db.execute(f"PRAGMA table_info({table})")]
            row = [value(kind, 100 * at + place) for place, kind in enumerate(kinds)]
            marks = ", ".join("?" for _ in columns)
            db.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", row)
        return contents(db)


def tables(db: sqlite3.Connection) -> list[str]:
    sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    return [row["name"] for row in db.execute(sql)]


def contents(db: sqlite3.Connection) -> Rows:
    return {table: dict(row) for table in tables(db) for row in db.execute(f"SELECT * FROM {table}")}


def value(kind: str, number: int) -> object:
    return {"INTEGER": number, "REAL": number + 0.5, "TEXT": f"text {number}", "BLOB": b"bytes %d" % number}[kind]


def layout(db: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    return {table: [tuple(row)[1:] for row in db.execute(f"PRAGMA table_info({table})")] for table in tables(db)}


def fresh(steps: Sequence[str]) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.row_factory = sqlite3.Row
        for script in steps:
            db.executescript(script)
        return layout(db)


FRESH = {name: fresh(steps) for name, steps in SCHEMAS.items()}


@pytest.mark.parametrize(("name", "k"), EVERY_STEP)
def test_every_earlier_schema_keeps_its_facts(name: str, k: int, tmp_path: Path) -> None:
    steps, path = SCHEMAS[name], tmp_path / "old.db"
    before = planted(path, steps[:k])
    with closing(connect(path, durable=False)) as db:
        upgrade(db, steps, path)
        after = contents(db)
        assert layout(db) == FRESH[name]
    for table, row in before.items():
        if table not in NO_FACTS:
            kept = {RENAMED.get(key, key): v for key, v in row.items() if key != ELSEWHERE.get(table)}
            assert after[RENAMED.get(table, table)].items() >= kept.items()

    copy = tmp_path / f"old.db.schema-{k}"
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(connect(copy)) as db:
        assert (version_of(db), contents(db)) == (k, before)
    assert {path.name for path in tmp_path.glob("*.schema-*")} == {copy.name}


def test_what_the_rooms_read_out_of_a_first_journal(tmp_path: Path) -> None:
    planted(tmp_path / "journal.db", SCHEMA[:1])
    with closing(Store(tmp_path)) as store:
        assert store.revoked() == {f"text {100 * sorted([*first_tables(), 'revoked']).index('revoked')}"}
        (version,) = store.lineage.all()
        assert (version.cluster, version.base, version.depth) == ("0", version.version - 1, version.version)
    with closing(Store(tmp_path)):
        pass  # once more: nothing is left to do, and nothing is copied
    assert [path.name for path in tmp_path.glob("*.schema-*")] == ["journal.db.schema-1"]


def unpacked(name: str, path: Path) -> None:
    path.write_bytes(gzip.decompress((JOURNALS / f"{name}.db.gz").read_bytes()))


def test_journals_that_earlier_versions_wrote(tmp_path: Path) -> None:
    """A masked run, in the middle of its third round, by the version that had just learnt to mask."""
    unpacked("server-4", tmp_path / "journal.db")
    unpacked("client-3", tmp_path / "client.db")
    with closing(Store(tmp_path)) as store, closing(ClientStore(tmp_path)) as client:
        known = store.run()
        assert known is not None
        run, spec = known
        headers = [(row, decode_header(row.header.body)) for row in store.rounds()]
        assert [(h.run, h.round, h.model_version, row.outcome) for row, h in headers] == [
            (run, 1, 0, "committed"), (run, 2, 1, "committed"), (run, 3, 2, None),
        ]  # fmt: skip
        assert [h.previous_header_digest for _, h in headers[1:]] == [row.header.digest for row, _ in headers[:-1]]
        assert all(h.spec_digest == spec.digest and h.masked for _, h in headers)
        assert {name for row, _ in headers[:2] for name in row.accepted} == {"c0", "c1", "c2", "c3"}
        assert [each.digest for each in store.lineage.all()][:3] == [h.model_digest for _, h in headers]
        assert len(store.receipts(run, 2)) == 4
        opening, steps = Stages(store.journal).opening(3), Stages(store.journal).steps(3)
        assert opening is not None
        assert opening.clip_norm == headers[2][1].clip_norm
        assert {step.client for step in steps if step.kind == "advertise"} == {"c0", "c1", "c2", "c3"}
        summary = run_summary(store, FederationConfig())
        assert summary is not None
        assert [r.round for r in summary.rounds] == [1, 2]

        assert client.chain(run) == (3, headers[2][0].header.digest)
        assert client.clip_norm(run) == (3, headers[2][1].clip_norm)
        assert client.seen() is None  # until the next round


def first_tables() -> list[str]:
    return ["run", "models", "rounds", "receipts", "refusals", "evaluations"]


def test_a_new_file_is_made_without_a_copy(tmp_path: Path) -> None:
    with closing(Store(tmp_path)), closing(ClientStore(tmp_path)):
        assert list(tmp_path.glob("*.schema-*")) == []


DIES = """
import os, signal, sys
from pathlib import Path
from roughfed.journal import connect
from roughfed.server.storage.schema import SCHEMA
from roughfed.upgrade import upgrade
path, k = Path(sys.argv[1]), int(sys.argv[2])
db = connect(path)
db.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
upgrade(db, [*SCHEMA[:k], "SELECT die();", *SCHEMA[k:]], path)
"""


@pytest.mark.parametrize("k", [5, len(SCHEMA) - 1])
def test_killed_between_two_steps_it_is_as_it_was(k: int, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    before = planted(path, SCHEMA[:3])
    killed = subprocess.run([sys.executable, "-c", DIES, path, str(k)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        assert (version_of(db), contents(db)) == (3, before)
    with closing(Store(tmp_path)) as store:
        assert version_of(store.journal._reader_db) == len(SCHEMA)
    assert (tmp_path / "journal.db.schema-3").exists()


def test_what_is_kept_is_what_was_there_also_after_an_upgrade_that_was_taken_back(tmp_path: Path) -> None:
    path, kept = tmp_path / "journal.db", tmp_path / "journal.db.schema-1"
    steps = ["CREATE TABLE t (x)", "CREATE TABLE u (x)"]
    Journal(path, steps[:1]).close()
    Journal(path, steps).close()
    shutil.copyfile(kept, path)
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    with closing(connect(path)) as db:
        db.execute("INSERT INTO t VALUES (7)")  # the earlier version goes on for a while
    Journal(path, steps).close()
    with closing(connect(kept)) as db:
        assert [row["x"] for row in db.execute("SELECT x FROM t")] == [7]


def test_a_disk_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    before = planted(path, SCHEMA[:4])
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(
        StorageError, match=r"nothing was changed: it takes [\d,]+ bytes on its disk, and 1,000 are free"
    ):
        Store(tmp_path)
    monkeypatch.undo()
    with closing(connect(path)) as db:
        assert (version_of(db), contents(db)) == (4, before)
    assert sorted(path.name for path in tmp_path.glob("*.schema-*")) == []


def test_a_disk_that_is_full_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    before = planted(path, SCHEMA[:4])
    with closing(connect(path)) as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StorageError, match="nothing was changed: database or disk is full"):
            upgrade(db, SCHEMA, path)
        assert (version_of(db), contents(db)) == (4, before)
        db.execute("PRAGMA max_page_count = 100000")
        upgrade(db, SCHEMA, path)
        assert version_of(db) == len(SCHEMA)


@pytest.mark.parametrize("name", ["server", "client", "members"])
def test_a_file_of_a_newer_version_is_refused_with_a_cure(name: str, tmp_path: Path) -> None:
    path = tmp_path / {"server": "journal.db", "client": "client.db", "members": "authority.db"}[name]
    with closing(connect(path)) as db:
        db.execute("CREATE TABLE later (x)")
        db.execute("PRAGMA user_version = 99")
    opening = {"server": Store, "client": ClientStore, "members": lambda _: MemberFile(path).create()}[name]
    with pytest.raises(NewerSchema, match=r"written by a newer roughfed \(schema 99, this one knows \d+\)") as caught:
        opening(tmp_path)
    assert EXIT_CODES[caught.value.exit_code].startswith("versions:")
    assert describe(caught.value)["cure"] == "install the version that wrote it, or restore a backup of an older one"
    with closing(connect(path)) as db:
        assert (version_of(db), tables(db)) == (99, ["later"])


def test_a_journal_that_an_older_process_works_on_is_left_alone(tmp_path: Path) -> None:
    planted(tmp_path / "journal.db", SCHEMA[:4])
    with (tmp_path / LOCK).open("w") as lock:
        flock(lock, LOCK_EX)
        lock.write("server 1")
        lock.flush()
        with pytest.raises(StorageError, match=r"of an older schema, 4, and .* \(server, process 1\): stop it first"):
            Store(tmp_path)
        lock.seek(0)
        lock.write(f"server {os.getpid()}")  # the process that opens it may well be the one that has the directory
        lock.truncate()
        lock.flush()
        Store(tmp_path).close()


def test_two_processes_that_come_at_once_take_each_step_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal(path, SCHEMA[:2]).close()
    steps = [*SCHEMA[:2], "CREATE TABLE times (x INTEGER)", "INSERT INTO times VALUES (1)"]

    def work(_: int) -> None:
        Journal(path, steps).close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    with closing(connect(path)) as db:
        assert [row["x"] for row in db.execute("SELECT x FROM times")] == [1]


def test_a_list_of_members_from_before_schemas_had_numbers(tmp_path: Path) -> None:
    for k in (1, 2):
        path = tmp_path / f"{k}.db"
        planted(path, member_file.SCHEMA[:k])
        with closing(connect(path)) as db:
            before = contents(db)
            db.execute("PRAGMA user_version = 0")
        MemberFile(path).create()
        with closing(connect(path)) as db:
            assert version_of(db) == len(member_file.SCHEMA)
            assert contents(db)["certificates"].items() >= before["certificates"].items()


@pytest.mark.parametrize("name", SCHEMAS)
def test_scripts_are_cut_where_their_statements_end(name: str) -> None:
    for script in SCHEMAS[name]:
        for statement in statements(script):
            assert sqlite3.complete_statement(statement)
            assert statement.split()[0] in ("CREATE", "ALTER", "INSERT", "DROP", "UPDATE")


def test_a_semicolon_in_a_text_ends_nothing() -> None:
    assert [s.strip() for s in statements("INSERT INTO a VALUES ('x; y'); ; DROP TABLE b")] == [
        "INSERT INTO a VALUES ('x; y');",
        "DROP TABLE b;",
    ]
