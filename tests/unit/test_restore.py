"""Restore: all of a backup or nothing, over nothing, and of nothing that this version does not know."""

import shlex
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli import restore as restoring
from roughfed.errors import StorageError
from roughfed.server.authority import Authority
from roughfed.server.restore import origin_of
from roughfed.server.schema import SCHEMA

from .backed_up import Site, restored
from .documents import blocks, commands


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "server")
    yield made
    made.store.close()


def test_the_lines_of_the_document(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.folder)
    (block,) = [b for b in blocks("sh") if b.about.endswith("test_restore.py::test_the_lines_of_the_document")]
    for line in commands(block):
        assert cli.run(shlex.split(line)[1:]) == 0
    assert (site.folder / "elsewhere" / "state" / "journal.db").exists()


def test_nothing_is_written_over(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = site.backup()
    assert cli.run(["restore", str(file), "--dir", str(site.folder)]) == 2
    assert "a restore writes over nothing" in capsys.readouterr().err
    other = tmp_path / "other"
    other.mkdir()
    (other / "fed.toml").write_text("# another one\n")
    assert cli.run(["restore", str(file), "--dir", str(other)]) == 2
    assert [path.name for path in other.iterdir()] == ["fed.toml"]
    (other / "fed.toml").write_text((site.folder / "fed.toml").read_text())
    (other / "state").mkdir()  # empty
    restored(file, other)


def test_a_ca_of_its_own_is_backed_up_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = Authority.create(tmp_path / "ca" / "state" / "ca", "fed", now=datetime.now(UTC))
    file = tmp_path / "b.tar"
    assert cli.run(["backup", "--dir", str(tmp_path / "ca"), "--out", str(file)]) == 0
    assert "no run yet" in capsys.readouterr().out
    again = Authority.open(restored(file, tmp_path / "new") / "ca")
    assert again.fingerprint == authority.fingerprint


@pytest.mark.parametrize("command", [["backup", "--out", "b.tar"], ["restore", "nowhere.tar"], ["restore", "."]])
def test_what_is_not_there(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run([*command, "--dir", str(tmp_path / "empty")]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["models/", "journal.db", "fed.toml"])
def test_a_damaged_backup_leaves_nothing(
    site: Site, tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = site.backup()
    with tarfile.open(file) as tar:
        at = next(member.offset_data for member in tar if where in member.name)
    data = bytearray(file.read_bytes())
    data[at + 3] ^= 1
    file.write_bytes(data)
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new")]) == 4
    assert "take an older one" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_disk_that_refuses_leaves_nothing(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = site.backup()

    def refuses(*_: object) -> None:
        raise StorageError("cannot write: No space left on device")

    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine.txt").write_text("of somebody")
    monkeypatch.setattr(restoring, "place", refuses)
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new")]) == 4
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine.txt"]
    (tmp_path / "new" / ".restore-dead").mkdir()  # a restore that was killed
    restored(file, tmp_path / "new")
    assert not list((tmp_path / "new").glob(".restore-*"))


def test_a_backup_of_a_newer_version_is_refused(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = site.backup()
    data = file.read_bytes()
    newer = data.replace(f'"schema": {len(SCHEMA)}'.encode(), b'"schema": 99', 1)
    file.write_bytes(newer)
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new")]) == 9
    assert "install the version that" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_disk_without_room_is_refused_before_anything_is_written(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = site.backup()
    monkeypatch.setattr(restoring.shutil, "disk_usage", lambda _: type("Disk", (), {"free": 7})())
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new")]) == 4
    assert "7 are free" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run", "\x1b[31mred"),
        ("software", "a\nb"),
        ("made_at", float("inf")),
        ("made_at", -1.0),
        ("made_at", 1e30),
        ("round", "3"),
        ("round", True),
        ("round", 1 << 63),
        ("version", -1),
        ("schema", None),
    ],
)
def test_what_a_backup_says_is_not_shown_as_it_stands(key: str, value: object) -> None:
    about = {"format": 1, "made_at": 1.0, "software": "0.1.0", "run": "r", "round": 3, "version": 2, "schema": 1}
    assert origin_of(about).run == "r"
    with pytest.raises(StorageError, match="does not say what it is"):
        origin_of(about | {key: value})
