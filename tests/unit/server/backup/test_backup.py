"""Backup of a state directory: what goes in, what stays out, and that it is of one moment."""

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roughfed.deploy.cli import app as cli
from roughfed.errors import ConfigError, StorageError
from roughfed.lock import only_one
from roughfed.server.backup import snapshot as module
from roughfed.server.backup.snapshot import FOLDER, Moment, sweep
from roughfed.server.extensions.ledger.file import LedgerPart, append
from roughfed.server.members import member_file
from roughfed.server.members.authority import Authority
from roughfed.server.members.member_file import MemberFile
from roughfed.server.storage.layout import LEDGER
from roughfed.server.storage.schema import SCHEMA
from roughfed.server.storage.store import Store
from roughfed.server.uploads.spool import update_name
from tests.unit.backed_up import RUN, Site, last_json, names, restored


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "server")
    yield made
    made.store.close()


@pytest.fixture
def masked(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "server", masked=True)
    yield made
    made.store.close()


def test_what_is_in_a_backup(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    file = site.backup("--json")
    models = {f"state/models/{digest.hex()}.safetensors" for _, digest in site.store.versions()}
    assert names(file) == models | {
        "about.json", "manifest.json", "signature.json", "fed.toml", "app/mine.py", "state/journal.db",
        "state/ca/authority.db",
        "state/ca/ca.key", "state/ca/ca.pem", "state/papers/identity.key", "state/papers/tls.key",
        "state/models/00000002.error", "state/models/00000001.delta", "state/models/00000002.opt-fedadam-m",
        f"state/spool/{update_name(RUN, 3, 'a')}",
    }  # fmt: skip
    told = last_json(capsys)
    assert told["files"] == len(names(file)) - 3
    assert {k: told[k] for k in ("run", "round", "open_round", "version", "schema", "left_out")} == {
        "run": RUN, "round": 3, "open_round": True, "version": 2, "schema": len(SCHEMA), "left_out": [],
    }  # fmt: skip
    assert not (site.state / "backup").exists()


def test_everything_is_as_it_was(site: Site, tmp_path: Path) -> None:
    before = {
        name: path.read_bytes()
        for path in site.state.rglob("*")
        if path.is_file()
        for name in [path.relative_to(site.state)]
    }
    state = restored(site.backup(), tmp_path / "new")
    for path in (path for path in state.rglob("*") if path.is_file() and path.suffix != ".db"):
        assert path.read_bytes() == before[path.relative_to(state)]
    assert {(tmp_path / "new" / name).read_text() for name in ("fed.toml", "mine.py")} == {
        (site.folder / name).read_text() for name in ("fed.toml", "mine.py")
    }
    assert state.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in state.rglob("*"))
    with closing(Store(state)) as store:
        assert store.run() == site.store.run()
        assert store.rounds() == site.store.rounds()
        assert store.receipts(RUN, 3) == site.store.receipts(RUN, 3)
        (row,) = store.journal.read("SELECT round, settled_at FROM restored")
        assert (row["round"], row["settled_at"]) == (3, None)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["fed.toml", "mine.py", "state"]


def test_the_list_that_organisations_signed_is_in_it_with_its_signatures(site: Site, tmp_path: Path) -> None:
    wanted = {"members.list": b"a list", "members.list.north.sig": b"north's", "members.list.east.sig": b"east's"}
    for name, text in wanted.items():
        (site.folder / name).write_bytes(text)
    (site.folder / "members.list.~1~.sig").write_bytes(b"an editor's")
    file = site.backup()
    assert {name for name in names(file) if name.startswith("members")} == wanted.keys()
    restored(file, tmp_path / "new")
    assert {name: (tmp_path / "new" / name).read_bytes() for name in wanted} == wanted


def test_of_an_open_masked_round_nothing_that_clients_said_is_in_it(masked: Site, tmp_path: Path) -> None:
    file = masked.backup()
    assert not any(name.startswith("state/spool") for name in names(file))
    assert b"what a client said" not in file.read_bytes()
    assert b"what a client said" in (masked.state / "journal.db-wal").read_bytes()
    with closing(Store(restored(file, tmp_path / "new"))) as store:
        assert store.last_round() == masked.store.last_round()


def test_without_keys(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = site.backup("--without-keys", "--json")
    wanted = ["ca/ca.key", "papers/identity.key", "papers/tls.key"]
    assert last_json(capsys)["left_out"] == wanted
    assert b"secret" not in file.read_bytes()
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new"), "--json"]) == 0
    assert sorted(last_json(capsys)["missing"]) == [f"state/{name}" for name in wanted]


def test_invites_that_were_open_are_void_and_certificates_that_nobody_noted_good(site: Site, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    file = site.backup()
    with MemberFile(site.state / "ca" / "authority.db").reading() as db:
        assert db.execute("SELECT COUNT(*) AS n FROM tokens").fetchone()["n"] == 1
    state = restored(file, tmp_path / "new")
    with MemberFile(state / "ca" / "authority.db").writing() as db:
        assert db.execute("SELECT COUNT(*) AS n FROM tokens").fetchone()["n"] == 0
        row = ("alice", "client", bytes(32), b"", 1)
        db.execute("INSERT INTO members (name, role, identity_key, member, enrolled_at) VALUES (?, ?, ?, ?, ?)", row)
        assert member_file.last_put_back(db) is not None
    again = Authority.open(state / "ca")
    assert again.standing("alice", 77) == ""  # a certificate that was issued after the backup
    assert again.standing("bob", 77) == "revoked"  # nobody of that name
    again.revoke("alice", now=now)
    assert again.standing("alice", 77) == "revoked"
    with MemberFile(state / "ca" / "authority.db").writing() as db:  # long ago: whatever was issued then has ended
        db.execute("UPDATE put_back SET at = 5")
        db.execute("UPDATE members SET revoked_at = NULL")
    assert again.standing("alice", 77) == "revoked"


def test_what_happens_after_the_moment_is_not_in_it(site: Site, tmp_path: Path) -> None:
    """Rounds are committed and models deleted while a backup is being copied."""
    moment = Moment.pin(site.state)

    async def goes_on() -> None:
        for number in (4, 5):
            await site.store.abandon(number - 1, "too-few", 9.0)
            await site.commit(number)

    asyncio.run(goes_on())
    first, last = (site.store.model_path(site.store.versions()[at][1]) for at in (0, 2))
    first.unlink()
    (site.state / "spool" / update_name(RUN, 3, "a")).unlink()
    moment.copy()
    assert last.exists()
    with closing(sqlite3.connect(moment.folder / "journal.db")) as db:
        assert db.execute("SELECT MAX(version) FROM models").fetchone() == (2,)
        assert db.execute("SELECT MAX(round), outcome FROM rounds").fetchone() == (3, None)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert {name: (moment.folder / name).stat().st_size for name in moment.files} == moment.files
    assert f"models/{first.name}" in moment.files
    moment.discard()
    assert not moment.folder.exists()


def test_of_the_ledger_the_part_that_the_journal_knows(site: Site) -> None:
    async def note(number: int, start: int, data: bytes | None) -> None:
        row = (number, start, 10, number, "head", data)
        await site.store.journal.write(lambda db: db.execute("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?)", row))

    (site.state / LEDGER).write_bytes(b"0123456789" * 3)  # the third round's lines are in the file, nobody knows yet
    asyncio.run(note(0, 0, None))
    asyncio.run(note(1, 10, None))
    asyncio.run(note(2, 20, b"0123456789"))
    moment = Moment.pin(site.state)
    append(site.state / LEDGER, LedgerPart(3, 30, 10, 4, "head", b"abcdefghij"), known=None)
    assert moment.files[LEDGER] == 20
    moment.discard()


def test_a_round_that_waits_to_be_scored_is_kept_whole_or_not_at_all(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = site.state / "contribution"
    shelf.mkdir()
    (shelf / "plan.json").write_text("{}")
    (shelf / "000000.row").write_text("row")
    whole = Moment.pin(site.state)
    assert {name for name in whole.files if "contribution" in name} == {
        "contribution/000000.row",
        "contribution/plan.json",
    }
    whole.discard()

    link = Moment._link

    def cleared(self: Moment, source: Path) -> str:
        if source.parent == shelf:
            (shelf / "plan.json").unlink(missing_ok=True)
        return link(self, source)

    monkeypatch.setattr(Moment, "_link", cleared)
    torn = Moment.pin(site.state)
    assert [name for name in torn.files if "contribution" in name] == []
    torn.discard()


def test_one_at_a_time_and_what_a_killed_one_left_is_swept(site: Site) -> None:
    Moment.pin(site.state)  # its process is killed
    with pytest.raises(ConfigError, match="a backup is under way"):
        Moment.pin(site.state)
    sweep(site.state)
    Moment.pin(site.state).discard()


def test_a_backup_that_was_killed_is_in_the_way_of_none(site: Site) -> None:
    Moment.pin(site.state)  # its process is killed, and no server was started since
    site.backup()
    assert not (site.state / FOLDER).exists()


def test_a_disk_without_hard_links(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(module.os, "link", refused)
    moment = Moment.pin(site.state)
    moment.copy()
    assert {name: (moment.folder / name).stat().st_size for name in moment.files} == moment.files
    moment.discard()


@pytest.mark.parametrize("gone", ["model", "update"])
def test_a_state_that_lacks_what_its_journal_says_is_not_backed_up(site: Site, gone: str) -> None:
    path = site.store.model_path(site.store.latest_model()[1])
    (path if gone == "model" else site.state / "spool" / update_name(RUN, 3, "a")).unlink()
    with pytest.raises(StorageError, match="is gone"):
        Moment.pin(site.state)
    assert not (site.state / "backup").exists()


REFUSED_OUT = {
    "a folder": "", "no such folder": "nowhere/b.tar", "the state itself": "server/state/b.tar",
    "the state, by a way around": "server/../server/state/b.tar",
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED_OUT)
def test_where_no_backup_goes(site: Site, tmp_path: Path, what: str) -> None:
    assert cli.run(["backup", "--dir", str(site.folder), "--out", str(tmp_path / REFUSED_OUT[what])]) == 2


def test_nobody_backs_up_what_another_process_has(site: Site) -> None:
    with ThreadPoolExecutor(1) as other, only_one(site.state, "ca", cure="wait"):
        out = str(site.folder.parent / "b.tar")
        assert other.submit(cli.run, ["backup", "--dir", str(site.folder), "--out", out]).result() == 2


def test_a_journal_of_an_older_version_is_backed_up_as_it_is_and_restored_as_a_new_one(tmp_path: Path) -> None:
    site = Site(tmp_path / "server")
    site.store.close()
    before = next(k for k, step in enumerate(SCHEMA) if "TABLE restored" in step)
    made = re.findall(r"CREATE (TABLE|INDEX) (\w+)", "".join(SCHEMA[before:]))
    with closing(sqlite3.connect(site.state / "journal.db")) as db:  # the last steps, taken back
        undone = "ALTER TABLE tier_rounds RENAME TO class_rounds; ALTER TABLE class_rounds RENAME COLUMN tier TO class;"
        undone += "".join(f"DROP {kind} {name};" for kind, name in made)
        db.executescript(undone + f"PRAGMA user_version = {before};")
    file = site.backup()
    with closing(sqlite3.connect(site.state / "journal.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (before,)
    state = restored(file, tmp_path / "new")
    with closing(Store(state)) as store:
        assert len(store.journal.read("SELECT * FROM restored")) == 1
    assert (state / f"journal.db.schema-{before}").exists()
