"""Whose files are that root writes, run as root: in a service's directory they are the service's."""

import os
import pwd
from pathlib import Path

import pytest

from roughfed.crypto.key_file import write_private
from roughfed.deploy.cli import app as cli
from roughfed.files import write_durably
from roughfed.lock import LOCK, only_one
from roughfed.ownership import give
from roughfed.server.members.server_credentials import renew_key
from tests.unit.backed_up import Site

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives files away")

NOBODY = pwd.getpwnam("nobody")


def given(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    return folder


def strangers(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.rglob("*")) if path.lstat().st_uid != NOBODY.pw_uid]


def test_what_root_writes_in_a_directory_of_an_account_is_the_accounts(tmp_path: Path) -> None:
    folder = given(tmp_path / "state")
    write_private(folder / "tls.key", b"secret")
    os.chown(folder / "tls.key", NOBODY.pw_uid, NOBODY.pw_gid)
    assert renew_key(folder), "roughfed rotate, while the server does not run"
    write_durably(folder / "a.json", b"{}")
    with only_one(folder, "backup", cure="wait"):
        assert strangers(folder) == []
    assert (folder / "tls.key").stat().st_mode & 0o777 == 0o600
    assert (folder / "tls.key").stat().st_gid == NOBODY.pw_gid


def test_a_file_that_the_account_has_linked_there_stays_whose_it_is(tmp_path: Path) -> None:
    folder, outside = given(tmp_path / "state"), tmp_path / "outside"
    outside.write_text("root's")
    (folder / LOCK).hardlink_to(outside)
    with only_one(folder, "backup", cure="wait"):
        assert outside.stat().st_uid == 0


def test_a_restore_by_root_is_for_whoever_has_the_directory(tmp_path: Path) -> None:
    folder = given(tmp_path / "new")
    assert cli.run(["restore", str(Site(tmp_path / "fed").backup()), "--dir", str(folder)]) == 0
    assert (folder / "state" / "ca" / "ca.key").exists()
    assert strangers(folder) == []


def test_no_link_is_followed_that_is_put_there_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside, state = tmp_path / "outside", tmp_path / "state"
    outside.mkdir()
    (state / "sub").mkdir(parents=True)
    for folder in (outside, state / "sub"):
        (folder / "file").write_text("x")
    chown = os.chown

    def swapped(path: str | Path, *args: int, **more: object) -> None:
        chown(path, *args, **more)  # type: ignore[arg-type]
        if Path(path).name == "sub":
            (state / "sub").rename(tmp_path / "away")
            (state / "sub").symlink_to(outside)

    monkeypatch.setattr(os, "chown", swapped)
    give(state, NOBODY.pw_uid, NOBODY.pw_gid)
    assert (state / "sub").is_symlink()
    assert (outside / "file").stat().st_uid == 0
