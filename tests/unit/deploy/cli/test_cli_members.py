"""`init`, `invite`, `revoke` and `plan` on a folder, without any server."""

import asyncio
import json
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

from roughfed.config import load_federation
from roughfed.crypto import join_line
from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli import reachable
from roughfed.server.members.authority import Authority
from roughfed.server.storage.store import Store


@pytest.fixture(autouse=True)
def own_excepthook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.fixture
def fed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    folder = tmp_path / "fed"
    assert cli.run(["init", "--dir", str(folder), "--name", "lab", "-o", "server.host=127.0.0.1"]) == 0
    capsys.readouterr()
    return folder


def error_of(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])["error"]


def test_init_makes_settings_that_load_and_a_ca(fed: Path) -> None:
    config = load_federation(fed, {})
    assert (config.federation.name, config.model.name, config.data.name) == ("lab", "mlp", "digits")
    assert config.server.host == "127.0.0.1"
    assert Authority.open(fed / "state" / "ca").federation == "lab"
    assert (fed / "state").stat().st_mode & 0o777 == 0o700


def test_init_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["init", "--dir", str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out
    assert f"roughfed server --dir {tmp_path / 'new'}" in out
    assert "roughfed invite NAME" in out


def test_init_overwrites_nothing(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.read_bytes() for p in fed.rglob("*") if p.is_file()}
    assert cli.run(["init", "--dir", str(fed), "--name", "other", "--json"]) == 2
    assert error_of(capsys)["file"].endswith("fed.toml")
    (fed / "fed.toml").unlink()
    assert cli.run(["init", "--dir", str(fed), "--json"]) == 2
    assert error_of(capsys)["file"].endswith("ca.key")
    after = {p: p.read_bytes() for p in fed.rglob("*") if p.is_file()}
    assert after == {p: content for p, content in before.items() if p.name != "fed.toml"}


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        (["--model", "transformr"], "model.name"),
        (["--app", "nothing.py:client"], "--app"),
        (["-o", "round.rouds=3"], "round.rouds"),
        (["-o", "rounds"], "--set"),
        (["-o", "privacy.server_sees=all"], "privacy.server_sees"),
        (["-o", "privacy.server_sees=sums", "-o", "round.cohort=3"], "round.cohort"),
        (["--name", "Big Name"], "federation.name"),
    ],
)
def test_a_refused_init_leaves_nothing(
    flags: list[str], key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["init", "--dir", str(tmp_path / "new"), *flags, "--json"]) == 2
    assert error_of(capsys)["key"] == key
    assert not (tmp_path / "new").exists()


def test_an_own_app_is_named_relative_to_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "new" / "my.py", tmp_path / "other.py"
    inside.parent.mkdir()
    for file in (inside, outside):
        file.touch()
    monkeypatch.chdir(tmp_path)
    assert cli.run(["init", "--dir", "new", "--app", "new/my.py:client"]) == 0
    assert load_federation(tmp_path / "new", {}).model.app == "my.py:client"
    assert cli.run(["init", "--dir", "two", "--app", "other.py:client"]) == 0
    assert load_federation(tmp_path / "two", {}).model.app == f"{outside}:client"


def test_an_own_app_and_listed_data_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my.py").touch()
    flags = ["--app", str(tmp_path / "my.py") + ":client", "--data", "digits"]
    assert cli.run(["init", "--dir", str(tmp_path / "new"), *flags, "--json"]) == 2
    assert error_of(capsys)["key"] == "data.name"


def test_an_invite_is_one_line_that_admits(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["invite", "alpha", "--dir", str(fed)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("ROUGHFED_JOIN='127.0.0.1:8444#")
    assert out.endswith("' roughfed join\n")
    line = join_line.parse(out.removeprefix("ROUGHFED_JOIN=").split()[0])
    assert line.ca_fingerprint == Authority.open(fed / "state" / "ca").fingerprint
    token = out.partition("#")[2].partition("'")[0]
    assert "alpha" in err
    assert token not in err


def test_an_invite_of_a_server(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        cli.run(["invite", "main", "--server", "--host", "ca.example.org", "--ttl", "5m", "--dir", str(fed), "--json"])
        == 0
    )
    answer = json.loads(capsys.readouterr().out)
    assert answer["role"] == "server"
    assert answer["address"] == "ca.example.org:8444"
    assert answer["command"].endswith("' roughfed server --no-ca")
    assert answer["join_line"] in answer["command"]


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["No!"], 3, "name 'No!'"),
        (["a", "--ttl", "soon"], 2, "'soon' is not a duration"),
        (["a", "--ttl", "0"], 2, "'0' is not a duration"),
        (["a", "--host", "not a host"], 2, "neither a name nor an address"),
    ],
)
def test_a_refused_invite(
    flags: list[str], code: int, words: str, fed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["invite", *flags, "--dir", str(fed)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err


def test_a_port_that_the_system_picks_is_known_after_the_start(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fed / "fed.toml").write_text("[server]\nenrol_port = 0\n[model]\nname = 'mlp'\n[data]\nname = 'digits'\n")
    assert cli.run(["invite", "a", "--dir", str(fed)]) == 2
    assert "hint: roughfed server" in capsys.readouterr().err
    (fed / "state" / "ports.json").write_text('{"federation": 1, "enrolment": 4711, "http": 0}')
    assert cli.run(["invite", "a", "--host", "h", "--dir", str(fed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["address"] == "h:4711"
    (fed / "state" / "ports.json").write_text('{"federation": 1, "enrolment": 0, "http": 0}')
    assert cli.run(["invite", "a", "--dir", str(fed)]) == 2
    assert "roughfed ca" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "host"),
    [({"address": "fed.example.org:1"}, "fed.example.org"), ({"host": "10.1.2.3"}, "10.1.2.3")],
)
def test_the_host_that_newcomers_are_told(settings: dict[str, str], host: str, fed: Path) -> None:
    overrides = {f"server.{key}": value for key, value in settings.items()}
    assert reachable.reachable_host(load_federation(fed, {}, overrides=overrides)) == host


def test_a_server_that_listens_everywhere_is_told_by_an_address_of_this_machine(fed: Path) -> None:
    config = load_federation(fed, {}, overrides={"server.host": "0.0.0.0"})
    assert reachable.reachable_host(config) not in reachable.EVERYWHERE


def test_without_a_route_the_first_address_that_others_see_is_told(fed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_federation(fed, {}, overrides={"server.host": "0.0.0.0"})
    monkeypatch.setattr(reachable, "OUTSIDE", ("255.255.255.255", 9))  # refused, as where no route leads out
    monkeypatch.setattr(reachable, "addresses", lambda: [("eth1", "10.1.2.3"), ("eth2", "10.9.9.9")])
    assert reachable.chosen(config) == ("10.1.2.3", "the address of eth1; this machine has no default route")
    monkeypatch.setattr(reachable, "addresses", list)
    assert reachable.reachable_host(config) == socket.gethostname()


def test_loopback_is_no_address_for_others() -> None:
    assert "127.0.0.1" not in [address for _, address in reachable.addresses()]


def test_a_revoked_name_stays_out(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(Store(fed / "state")):
        pass  # a server ran here
    assert cli.run(["revoke", "alpha", "--dir", str(fed), "--json"]) == 3
    assert error_of(capsys)["reason"] == "unknown"
    assert cli.run(["invite", "alpha", "--dir", str(fed)]) == 0
    assert cli.run(["revoke", "alpha", "--dir", str(fed)]) == 0
    with closing(Store(fed / "state")) as store:
        assert store.revoked() == {"alpha"}
    capsys.readouterr()
    assert cli.run(["invite", "alpha", "--dir", str(fed), "--json"]) == 3
    assert error_of(capsys)["reason"] == "revoked"


def test_revoke_where_there_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["revoke", "alpha", "--dir", str(tmp_path), "--json"]) == 2
    assert error_of(capsys)["cure"] == "name it with --dir"


def test_plan_says_what_is_set_and_refuses_what_cannot_work(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", "--dir", str(fed), "--clients", "5", "--params", "1000", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [t["connected"] for t in answer["turnouts"]] == [5]
    assert answer["size"] == 1000
    assert cli.run(["plan", "--dir", str(fed), "-o", "round.quorum=9", "--json"]) == 2
    assert error_of(capsys)["key"] == "round.quorum"


def test_plan_knows_the_size_of_a_run(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from roughfed.types import Spec, TensorSpec

    with closing(Store(fed / "state")) as store:
        asyncio.run(store.create_run("lab-1", Spec((TensorSpec("w", (70, 30)),)), bytes(32), 0.0))
    assert cli.run(["plan", "--dir", str(fed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == 2100


def test_a_folder_without_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["plan"], ["server"], ["invite", "a"], ["ca"]):
        assert cli.run([*arguments, "--dir", str(tmp_path)]) == 2
        assert "roughfed init" in capsys.readouterr().err
