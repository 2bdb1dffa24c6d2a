"""`roughfed roster` on files: made, signed, shown, verified; and what a server makes of them."""

import asyncio
import hashlib
import json
import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from roughfed.client.members import credential_files
from roughfed.config.organisations import read_organisations
from roughfed.crypto import certificates, identity
from roughfed.crypto.identity import IdentityKey
from roughfed.deploy.cli import app as cli
from roughfed.deploy.doctor.checks.authority import roster as looked_at
from roughfed.deploy.roster import LIST, lists_of
from roughfed.errors import ConfigError, IdentityError
from roughfed.server.members.authority import Authority
from roughfed.wire.member_list import open_signed
from tests.unit.deploy.doctor.doctor_sites import client_folder
from tests.unit.documents import blocks, commands

NAMES = ("north", "south", "east")


@pytest.fixture(autouse=True)
def own_excepthook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.fixture
def fed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A federation with two members, three organisations, and their public keys in one file."""
    monkeypatch.chdir(tmp_path)
    assert cli.run(["init", "--name", "lab", "-o", "server.host=127.0.0.1"]) == 0
    enrol(Authority.open(tmp_path / "state" / "ca"), "alice", "north")
    enrol(Authority.open(tmp_path / "state" / "ca"), "bob", "")
    lines = ["needed = 2", "", "[organisations]"]
    capsys.readouterr()
    for name in NAMES:
        assert cli.run(["roster", "init-org", name, "--dir", name]) == 0
        lines.append(capsys.readouterr().out.strip())
    (tmp_path / "organisations.toml").write_text("\n".join(lines) + "\n")
    return tmp_path


def enrol(authority: Authority, name: str, organisation: str) -> None:
    now, key, csr = datetime.now(UTC), IdentityKey.generate(), certificates.new_request(certificates.new_tls_key())
    token = authority.invite(name, now=now, organisation=organisation)
    proof = key.sign(identity.ENROL_DOMAIN, identity.enrolment_body(token, csr))
    authority.enroll(token, csr, key.public_key, proof=proof, now=now)


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, object]:
    capsys.readouterr()
    assert cli.run([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_lines_of_the_document(fed: Path) -> None:
    for name in NAMES[:1]:
        (fed / name / f"{name}.key").unlink()
        (fed / name).rmdir()
    shown, consortium = [
        b for b in blocks("sh") if b.about.endswith("test_cli_roster.py::test_the_lines_of_the_document")
    ]
    for line in commands(shown):
        assert cli.run(shlex.split(line)[1:]) == 0
    for line in commands(consortium)[:-1]:
        assert cli.run(shlex.split(line)[1:]) == 0
    for name in NAMES[1:]:  # the others do the same
        assert cli.run(["roster", "sign", LIST, "--key", f"{name}/{name}.key"]) == 0
    assert cli.run(shlex.split(commands(consortium)[-1])[1:]) == 0


def test_a_list_counts_once_enough_organisations_have_signed_it(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = answer(capsys, "roster", "propose")
    assert (made["number"], [m["name"] for m in made["members"]]) == (1, ["alice", "bob"])
    trust = ("--organisations", "organisations.toml")
    for signers, code in (("north", 3), ("east", 0)):
        answer(capsys, "roster", "sign", LIST, "--key", f"{signers}/{signers}.key")
        found = answer(capsys, "roster", "verify", LIST, *trust, code=code)
    assert found["signers"] == ["east", "north"]

    async def nobody() -> bytes:
        raise AssertionError("the file is there")

    signed = asyncio.run(lists_of(fed, nobody)())
    listed = open_signed(signed, read_organisations(fed / "organisations.toml"), "lab")
    assert (listed.by_name["alice"].organisation, listed.digest.hex()) == ("north", made["digest"])
    shown = answer(capsys, "roster", "show")
    assert shown["members"][0]["fingerprint"] == f"sha256:{listed.members[0].fingerprint}"
    assert len(shown["signed_by"]) == 2

    again = answer(capsys, "roster", "propose")  # the signatures were of the list before
    assert (again["number"], list(fed.glob("*.sig"))) == (2, [])
    with pytest.raises(ConfigError, match="nobody has signed member list 2"):
        asyncio.run(lists_of(fed, nobody)())


def test_a_list_that_was_changed_after_signing_counts_for_nothing(
    fed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(capsys, "roster", "propose")
    for name in NAMES:
        answer(capsys, "roster", "sign", LIST, "--key", f"{name}/{name}.key")
    body = (fed / LIST).read_bytes()
    (fed / LIST).write_bytes(body.replace(b"alice", b"alicf"))
    refused = answer(capsys, "roster", "verify", LIST, "--organisations", "organisations.toml", code=3)
    assert refused["error"]["reason"] == "members-signature"
    (fed / LIST).write_bytes(b"no list")
    for words in (("verify", LIST, "--organisations", "organisations.toml"), ("show", LIST), ("propose",)):
        assert answer(capsys, "roster", *words, code=2)["error"]["file"].endswith(LIST)


def test_a_list_is_numbered_on_wherever_it_is_written(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, place in ((1, []), (2, []), (3, ["--out", "elsewhere.list"]), (4, ["--out", "elsewhere.list"])):
        assert answer(capsys, "roster", "propose", *place)["number"] == number


def test_without_a_file_the_list_is_the_cas(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = answer(capsys, "roster", "show")
    assert (shown["signed_by"], [m["organisation"] for m in shown["members"]]) == (["ca"], ["north", ""])
    (fed / "empty").mkdir()
    assert "masked round" in answer(capsys, "roster", "show", "--dir", "empty", code=2)["error"]["cure"]


def test_a_client_reads_its_own_fingerprint_before_the_first_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    papers = client_folder(tmp_path / "c0", Authority.create(tmp_path / "ca", "lab", now=datetime.now(UTC)))
    mine = credential_files.load(papers / "state" / "papers").identity.public_key
    found = answer(capsys, "roster", "show", "--dir", str(papers))
    assert found == {"fingerprint": f"sha256:{hashlib.sha256(mine).hexdigest()}"}


def test_keys_are_made_once(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (fed / "north" / "north.key").stat().st_mode & 0o777 == 0o600
    assert answer(capsys, "roster", "init-org", "north", "--dir", "north", code=2)["error"]["reason"] == "config"
    assert answer(capsys, "roster", "init-org", "No Name", code=3)["error"]["reason"] == "name"


GOOD = "a" * 64
WRONG = {
    "no TOML": "needed =",
    "no organisations": "needed = 1",
    "none needed": f'needed = 0\n[organisations]\nnorth = "{GOOD}"',
    "more needed than there are": f'needed = 2\n[organisations]\nnorth = "{GOOD}"',
    "a short key": 'needed = 1\n[organisations]\nnorth = "aa"',
    "one key twice": f'needed = 1\n[organisations]\nnorth = "{GOOD}"\nsouth = "{GOOD}"',
    "a name that is none": f'needed = 1\n[organisations]\n"No" = "{GOOD}"',
    "more than that": f'needed = 1\nmore = 2\n[organisations]\nnorth = "{GOOD}"',
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_a_file_of_organisations_that_is_wrong_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "o.toml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_organisations(tmp_path / "o.toml")
    assert (refused.value.key, refused.value.file) == ("policy.organisations", str(tmp_path / "o.toml"))
    with pytest.raises(ConfigError):
        read_organisations(tmp_path / "missing.toml")


def test_the_doctor_says_when_a_list_ends(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC) + timedelta(hours=1)
    answer(capsys, "roster", "propose", "--days", "10")
    assert "signed by nobody" in looked_at(fed / LIST, now).sentence
    answer(capsys, "roster", "sign", LIST, "--key", "north/north.key")
    assert "ends in 9 days" in looked_at(fed / LIST, now).sentence
    (fed / LIST).write_bytes(b"no list")
    assert "no member list" in looked_at(fed / LIST, now).sentence
    answer(capsys, "roster", "propose", "--out", "other.list", code=2)  # its number is not known
    (fed / LIST).unlink()
    answer(capsys, "roster", "propose", "--days", "30", "--out", "other.list")
    answer(capsys, "roster", "sign", "other.list", "--key", "north/north.key")
    assert looked_at(fed / "other.list", now).state.name == "OK"


def test_another_federations_list_is_none(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, "roster", "propose")
    for name in NAMES:
        answer(capsys, "roster", "sign", LIST, "--key", f"{name}/{name}.key")
    signed = asyncio.run(lists_of(fed, None)())  # pyright: ignore[reportArgumentType]
    with pytest.raises(IdentityError):
        open_signed(signed, read_organisations(fed / "organisations.toml"), "other")
