"""A backup of an edge's directory holds its membership above, and what is restored of it says nothing twice."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roughfed.client.members import credential_files
from roughfed.client.storage.store import ClientStore, SavedUpdate
from roughfed.deploy.cli import app as cli
from roughfed.deploy.edge import membership_backup
from roughfed.errors import StorageError
from roughfed.messages import Seen
from roughfed.server.members.authority import Authority
from roughfed.types import Signed
from roughfed.wire.session import decode_header
from tests.unit.backed_up import Site, header, last_json, names, restored
from tests.unit.deploy.doctor.doctor_sites import client_folder

PAPERS = {f"upstream/state/papers/{name}" for name in (*credential_files.FILES, credential_files.RECORD)}
KEYS = {"upstream/state/papers/identity.key", "upstream/state/papers/tls.key"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An edge that is enrolled above as "east"."""
    made = Site(tmp_path / "edge")
    Authority.create(tmp_path / "top", "top", now=datetime.now(UTC))
    text = '[client]\nname = "east"\n'
    client_folder(made.folder / "upstream", Authority.open(tmp_path / "top"), name="east", text=text)
    yield made
    made.store.close()


def upstream(folder: Path) -> Path:
    return folder / "upstream" / "state"


def answered(folder: Path, number: int, *, masked: bool) -> SavedUpdate:
    """An edge has answered a round above; its bytes and its secret lie there, and so does its model."""
    signed = Signed(b"statement", bytes(64), "east")
    update = SavedUpdate("run-1", number, bytes(32), b"d" * 32, signed)

    async def work(store: ClientStore) -> None:
        await store.extend_chain("run-1", number, bytes(32), seen=Seen(header(number, masked=masked), b"server"))
        await store.save_update(update)

    with closing(ClientStore(upstream(folder))) as store:
        asyncio.run(work(store))
        store.update_path(number).write_bytes(b"bytes")
        store.model_path(bytes(32)).write_bytes(b"model")
    (upstream(folder) / "round-00.ahead").write_bytes(b"secret")
    return update


def test_the_membership_above_is_in_it_and_nothing_of_a_round(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    answered(site.folder, 5, masked=False)
    file = site.backup("--json")
    told = last_json(capsys)
    assert told["edge"] is True
    assert {name for name in names(file) if name.startswith("upstream/")} == PAPERS | {
        "upstream/client.toml",
        "upstream/state/client.db",
    }
    assert told["files"] == len(names(file)) - 3
    assert not (site.folder / "upstream" / "backup").exists()


def test_it_is_whole_again_and_whose_it_was(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, before = site.backup(), credential_files.load(upstream(site.folder) / "papers")
    restored(file, tmp_path / "new")
    assert "start it with --upstream" in capsys.readouterr().out
    after = credential_files.load(upstream(tmp_path / "new") / "papers")
    assert after == replace(before, folder=after.folder, identity=after.identity)
    assert after.identity.public_key == before.identity.public_key
    assert all(path.stat().st_mode & 0o077 == 0 for path in upstream(tmp_path / "new").rglob("*"))
    toml = Path("upstream", "client.toml")
    assert (tmp_path / "new" / toml).read_bytes() == (site.folder / toml).read_bytes()
    assert not list((tmp_path / "new").glob(".restore-*"))


def test_without_keys_it_says_which_are_missing(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = site.backup("--json", "--without-keys")
    assert set(last_json(capsys)["left_out"]) >= KEYS | {"ca/ca.key"}
    assert names(file) & KEYS == set()
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new"), "--json"]) == 0
    assert set(last_json(capsys)["missing"]) >= KEYS | {"state/ca/ca.key"}


def test_in_the_clear_the_same_bytes_are_promised_still(site: Site, tmp_path: Path) -> None:
    update = answered(site.folder, 5, masked=False)
    restored(site.backup(), tmp_path / "new")
    with closing(ClientStore(upstream(tmp_path / "new"))) as store:
        assert not store.forgotten("run-1", 5)
        with pytest.raises(StorageError, match="sat out"):
            asyncio.run(store.save_update(replace(update, digest=b"e" * 32)))
        asyncio.run(store.save_update(update))


def test_a_masked_round_that_it_knows_is_sat_out(site: Site, tmp_path: Path) -> None:
    answered(site.folder, 5, masked=True)
    assert decode_header(header(5, masked=True).body).masked
    restored(site.backup(), tmp_path / "new")
    with closing(ClientStore(upstream(tmp_path / "new"))) as store:
        assert store.forgotten("run-1", 5)
        assert store.update("run-1", 5) is None
        assert not store.forgotten("run-1", 6)


def test_the_sum_that_went_up_is_in_it(site: Site) -> None:
    """Asked again, a restored edge gives the same bytes; a sum of no version, or half of one, is none."""
    (site.state / "sums").mkdir()
    for name in ("00000002.f32", "00000009.f32", "00000002.partial"):
        (site.state / "sums" / name).write_bytes(b"sum")
    assert {name for name in names(site.backup()) if "sums" in name} == {"state/sums/00000002.f32"}


def test_nothing_is_written_over(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = site.backup()
    (tmp_path / "new" / "upstream").mkdir(parents=True)
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new")]) == 2
    assert "a membership in a federation above" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["upstream"]


def test_a_damaged_memory_leaves_nothing(site: Site, tmp_path: Path) -> None:
    answered(site.folder, 5, masked=False)
    relax = "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = 'weights'"
    for wrong in (
        lambda db: db.execute(relax, ("INTEGER NOT NULL", "INTEGER")),
        lambda db: db.execute("INSERT INTO weights VALUES ('run-1', 5, NULL)"),
        lambda db: db.execute(relax, ("quarters INTEGER", "quarters INTEGER NOT NULL")),
    ):
        with closing(sqlite3.connect(upstream(site.folder) / "client.db")) as db, db:
            db.execute("PRAGMA writable_schema = ON")
            wrong(db)
    file = site.backup()
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new")]) == 4
    assert not (tmp_path / "new").exists()


def test_a_key_that_is_replaced_meanwhile_is_taken_with_its_certificate(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two links both files change: what was held is looked at, and held anew."""
    held, link = list[str](), membership_backup.os.link
    papers = upstream(site.folder) / "papers"
    right = {name: (papers / name).read_bytes() for name in (credential_files.TLS_KEY, credential_files.CERTIFICATE)}

    def torn(source: Path, target: Path) -> None:
        held.append(source.name)
        if len(held) == 1:
            target.write_bytes(b"of another certificate")
            target.chmod(0o600)
        else:
            link(source, target)

    monkeypatch.setattr(membership_backup.os, "link", torn)
    with membership_backup.held(site.folder) as found:
        assert {name: found[f"upstream/state/papers/{name}"].read_bytes() for name in right} == right
    assert len(held) == 2 * len(PAPERS)


def test_a_server_of_its_own_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = Site(tmp_path / "server")
    file = plain.backup("--json")
    assert last_json(capsys)["edge"] is False
    plain.store.close()
    assert not any(name.startswith("upstream") for name in names(file))
    restored(file, tmp_path / "new")
    assert not (tmp_path / "new" / "upstream").exists()
    assert "--upstream" not in capsys.readouterr().out
