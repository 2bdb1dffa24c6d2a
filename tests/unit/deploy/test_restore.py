"""Restore: all of a backup or nothing, over nothing, and of nothing that this version does not know."""

import asyncio
import json
import shlex
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roughfed.crypto import certificates
from roughfed.crypto.identity import ENROL_DOMAIN, IdentityKey, enrolment_body
from roughfed.deploy.archive import ABOUT, BLOCK, DOMAIN, MANIFEST, SIGNATURE
from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli import restore as restoring
from roughfed.digest import content_digest
from roughfed.errors import StorageError
from roughfed.server.backup.restore import origin_of
from roughfed.server.defence.vouched import vouch, withdraw
from roughfed.server.members.authority import Authority
from roughfed.server.storage.schema import SCHEMA
from tests.unit.backed_up import Site, last_json, restored
from tests.unit.documents import blocks, commands


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
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new")]) == 4  # it has no key before its first start
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new"), "--unsigned"]) == 0
    again = Authority.open(tmp_path / "new" / "state" / "ca")
    assert again.fingerprint == authority.fingerprint


@pytest.mark.parametrize("command", [["backup", "--out", "b.tar"], ["restore", "nowhere.tar"], ["restore", "."]])
def test_what_is_not_there(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run([*command, "--dir", str(tmp_path / "empty")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_whoever_was_vouched_for_is_named(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = site.backup()
    restored(file, tmp_path / "plain")
    assert "vouch" not in capsys.readouterr().err
    asyncio.run(vouch(site.store.journal, "hospital-c", "rare", 5.0, identity_key=bytes(32)))
    file = site.backup()
    asyncio.run(withdraw(site.store.journal, "hospital-c"))
    capsys.readouterr()
    restored(file, tmp_path / "new")
    said = " ".join(capsys.readouterr().err.split())
    assert "the defence spares hospital-c, vouched for when the backup was made" in said
    assert cli.run(["vouch", "hospital-c", "--withdraw", "--dir", str(tmp_path / "new")]) == 0
    capsys.readouterr()
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "other"), "--json"]) == 0
    assert last_json(capsys)["vouched"] == ["hospital-c"]


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


# -- whose it is -------------------------------------------------------------------------------------------------------


def rewritten(
    file: Path,
    change: Callable[[dict[str, bytes]], object] = lambda _: None,
    *,
    key: IdentityKey | None = None,
    signed: bool = True,
) -> None:
    """Alter a backup as somebody does who knows its format: all lists and digests fit again."""
    with tarfile.open(file) as tar:
        files = {m.name: found.read() for m in tar.getmembers() if (found := tar.extractfile(m)) is not None}
    about, signature = json.loads(files.pop(ABOUT)), files.pop(SIGNATURE)
    del files[MANIFEST]
    change(files)
    about["files"] = [{"name": name, "size": len(data)} for name, data in files.items()]
    lists = [json.dumps(about).encode()]
    lists.append(json.dumps({"blake3": {name: content_digest(data).hex() for name, data in files.items()}}).encode())
    if key is not None:
        said = key.sign(DOMAIN, b"".join(map(content_digest, lists))).hex()
        signature = json.dumps({"key": key.public_key.hex(), "signature": said}).encode()
    everything = {ABOUT: lists[0], **files, MANIFEST: lists[1]} | ({SIGNATURE: signature} if signed else {})
    with file.open("wb") as out:
        for name, data in everything.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.write(info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % BLOCK))
        out.write(bytes(2 * BLOCK))


def flipped(name: str) -> Callable[[dict[str, bytes]], object]:
    def change(files: dict[str, bytes]) -> None:
        (found,) = [each for each in files if name in each]
        data = bytearray(files[found])
        data[len(data) // 2] ^= 1
        files[found] = bytes(data)

    return change


ALTERED = ["state/papers/identity.key", "state/ca/ca.key", "state/journal.db", "app/mine.py", "fed.toml"]


@pytest.mark.parametrize("where", ALTERED)
def test_a_backup_that_somebody_altered_is_refused(
    site: Site, tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = site.backup()
    rewritten(file, flipped(where))
    for more in ([], ["--unsigned"], ["--key", site.key.public_key.hex()]):
        assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new"), *more]) == 4
        assert "somebody has altered it" in capsys.readouterr().err
        assert not (tmp_path / "new").exists()


def test_a_signature_with_another_byte_is_refused(site: Site, tmp_path: Path) -> None:
    file = site.backup()
    data = file.read_bytes()
    at = data.rindex(b'"signature": "') + 20
    file.write_bytes(data[:at] + (b"0" if data[at : at + 1] != b"0" else b"1") + data[at + 1 :])
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new")]) == 4
    assert not (tmp_path / "new").exists()


def test_the_signature_of_a_stranger_is_refused(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, stranger = site.backup("--without-keys"), IdentityKey.generate()
    rewritten(file, flipped("app/mine.py"), key=stranger)
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new")]) == 4
    assert "never certified as a server's" in capsys.readouterr().err
    client = site.authority.invite("eve", now=datetime.now(UTC))
    request = certificates.new_request(certificates.new_tls_key())
    proof = stranger.sign(ENROL_DOMAIN, enrolment_body(client, request))
    site.authority.enroll(client, request, stranger.public_key, proof=proof, now=datetime.now(UTC))
    file = site.backup()
    rewritten(file, key=stranger)
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new")]) == 4  # a client is no server
    assert not (tmp_path / "new").exists()


def test_who_has_all_keys_signs_as_the_server_unless_the_key_is_known(site: Site, tmp_path: Path) -> None:
    stranger, request = IdentityKey.generate(), certificates.new_request(certificates.new_tls_key())
    site.authority.issue_server("server", request, stranger.public_key, now=datetime.now(UTC))
    file = site.backup()
    rewritten(file, key=stranger)
    known = ["--key", site.key.public_key.hex()]
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new"), *known]) == 4
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new")]) == 0  # it has the CA's key


def test_the_key_that_the_backup_named_restores_it(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = site.backup("--json")
    key = last_json(capsys)["key"]
    assert key == site.key.public_key.hex()
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new"), "--key", key.upper()]) == 0
    for bad in (["--key", key[:-1]], ["--key", key, "--unsigned"]):
        assert cli.run(["restore", str(file), "--dir", str(tmp_path / "other"), *bad]) == 2


def test_a_backup_that_nobody_signed_is_taken_only_when_told_to(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = site.backup()
    rewritten(file, signed=False)  # as an older version wrote it
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new")]) == 4
    assert "--unsigned" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert cli.run(["restore", str(file), "--dir", str(tmp_path / "new"), "--unsigned"]) == 0
