"""`--install`: what is refused before an invite is spent, whose the files become, what the unit runs with."""

import json
import os
import pwd
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roughfed.client.members.credential_files import Credentials
from roughfed.config import load_client
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.deploy.aggregator import ServerFiles
from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli import install, join
from roughfed.deploy.cli.command import CommandContext
from roughfed.deploy.cli.install import Asked, Target
from roughfed.errors import ConfigError
from roughfed.server.members.authority import Authority
from tests.unit.deploy.doctor.doctor_sites import client_folder
from tests.unit.deploy.test_deploy_units import entries, last, verified
from tests.unit.deployed import parses, run, tool

ACCOUNT = "daemon"
"""An account that every system has, and that is not this test's."""
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for other accounts")


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.delenv("ROUGHFED_JOIN", raising=False)


@pytest.fixture
def booted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if systemd ran here; its units go into the folder."""
    tool("systemctl")
    monkeypatch.setattr(install, "BOOTED", tmp_path)
    monkeypatch.setattr(install, "SYSTEM", tmp_path / "units")
    return tmp_path / "units"


def error_of(capsys: pytest.CaptureFixture[str]) -> Mapping[str, str]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])["error"]


def answer_of(capsys: pytest.CaptureFixture[str]) -> Mapping[str, object]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def papers(folder: Path, name: str = "alpha") -> Credentials:
    """Only its name and its CA are looked at."""
    enrolled = object.__new__(Credentials)
    ca = CertificateAuthority.create("fed", serial=3, now=datetime.now(UTC)).certificate
    object.__setattr__(enrolled, "ca_certificate", ca)
    object.__setattr__(enrolled, "subject", type("Subject", (), {"name": name, "federation": "fed"}))
    (folder / "state" / "papers").mkdir(parents=True)
    (folder / "state" / "papers" / "tls.key").write_text("a key")
    return enrolled


def enrol(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Enrolments succeed; the lines that were spent."""
    spent: list[object] = []

    def membership(context: CommandContext, _flags: object, line: object, _config: object) -> Credentials:
        spent.append(line)
        return papers(context.folder)

    monkeypatch.setattr(join, "membership", membership)
    return spent


# -- refused, and nothing was spent ------------------------------------------------------------------------------------


def test_where_there_is_no_systemd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spent = enrol(monkeypatch)
    monkeypatch.setattr(install, "BOOTED", tmp_path / "nowhere")
    assert cli.run(["join", "--install", "--data", "digits", "--dir", str(tmp_path), "--json"]) == 2
    error = error_of(capsys)
    assert (error["key"], spent) == ("--install", [])
    assert "systemd does not run here" in error["cause"]
    assert "--install-to FOLDER" in error["cure"]


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        (Asked(False, user=ACCOUNT), "--user"),
        (Asked(False, start=True), "--start"),
        (Asked(True, to=Path("out"), start=True), "--start"),
        (Asked(True, to=Path("out"), user="root"), "--user"),
        (Asked(True, to=Path("out"), user="nobody-of-this-name"), "--user"),
    ],
)
def test_flags_that_cannot_work(asked: Asked, key: str, tmp_path: Path) -> None:
    if os.geteuid() != 0 and asked.user == "nobody-of-this-name":
        pytest.skip("needs root, for other accounts")
    with pytest.raises(ConfigError) as caught:
        install.prepare(tmp_path, asked)
    assert (caught.value.key, bool(caught.value.cure)) == (key, True)


def test_nothing_is_asked_of_anybody_without_the_flag(tmp_path: Path) -> None:
    assert install.prepare(tmp_path, Asked(False)) is None


@root
def test_it_does_not_run_as_root(tmp_path: Path, booted: Path) -> None:
    with pytest.raises(ConfigError, match="does not run as root"):
        install.prepare(tmp_path, Asked(True))
    os.chown(tmp_path, *pwd.getpwnam(ACCOUNT)[2:4])
    assert install.prepare(tmp_path, Asked(True)) == Target(booted, ACCOUNT, False, here=True)


@root
def test_a_folder_that_the_account_cannot_enter(tmp_path: Path, booted: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigError, match=f"{ACCOUNT} may not enter it"):
        install.prepare(tmp_path, Asked(True, user=ACCOUNT))
    tmp_path.chmod(0o755)
    assert install.prepare(tmp_path, Asked(True, user=ACCOUNT)) is not None
    assert install.prepare(tmp_path / "new", Asked(True, user=ACCOUNT)) is not None


def test_somebody_else_installs_units_of_their_own(
    tmp_path: Path, booted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(ConfigError, match="no service manager of this user"):
        install.prepare(tmp_path, Asked(True))
    (tmp_path / "run" / "systemd").mkdir(parents=True)
    target = install.prepare(tmp_path, Asked(True))
    assert target == Target(tmp_path / "config" / "systemd" / "user", "", False, here=True)
    assert target.systemctl == ["systemctl", "--user"]
    with pytest.raises(ConfigError, match="only root installs"):
        install.prepare(tmp_path, Asked(True, user=ACCOUNT))
    packaged = install.prepare(tmp_path, Asked(True, to=tmp_path / "out", user=ACCOUNT))
    assert packaged == Target(tmp_path / "out", ACCOUNT, False, here=False)


def test_flags_that_the_unit_would_lose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spent = enrol(monkeypatch)
    tmp_path.chmod(0o755)
    to = ["--install-to", str(tmp_path / "out"), "--user", ACCOUNT, "--dir", str(tmp_path), "--json"]
    (tmp_path / "client.toml").write_text("[data]\nname = 'digits'\n[model]\nname = 'mlp'\n")
    assert cli.run(["join", "--index", "0", *to]) == 2
    assert error_of(capsys)["file"].endswith("client.toml")
    (tmp_path / "fed.toml").write_text("[data]\nname = 'digits'\n[model]\nname = 'mlp'\n")
    assert cli.run(["server", "--port", "1234", *to]) == 2
    assert error_of(capsys)["key"] == "--set server.port"
    assert spent == []
    assert not (tmp_path / "out").exists()


# -- written -----------------------------------------------------------------------------------------------------------


def test_a_client_is_enrolled_and_gets_a_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol(monkeypatch)
    folder, out = tmp_path / "client", tmp_path / "out"
    folder.mkdir()
    (folder / "mine.py").write_text("client = None\n")
    flags = ["--app", str(folder / "mine.py:client"), "--device", "cpu", "--runs", "10"]
    to = ["--install-to", str(out), "--user", ACCOUNT, "--dir", str(folder), "--json"]
    assert cli.run(["join", *flags, *to]) == 0

    unit = out / "roughfed-client-alpha.service"
    assert answer_of(capsys) == {
        "client": "alpha", "federation": "fed", "server_sees": "sketches", "unit": str(unit), "started": False,
    }  # fmt: skip
    text = unit.read_text()
    words = last(text, "ExecStart").split()
    assert words[0] == install.program()[0]
    assert parses(words[words.index("join") :]) == "join"
    assert words[-2:] == ["--dir", str(folder)]
    assert (last(text, "User"), last(text, "PrivateDevices")) == (ACCOUNT, "yes")
    assert verified(unit) == ""
    assert load_client(folder, {}).client.stay == 10
    if os.geteuid() == 0:
        state = folder / "state"
        assert {path.owner() for path in (state, *state.rglob("*"), folder / "client.toml")} == {ACCOUNT}
        assert {path.owner() for path in (folder, folder / "mine.py")} == {"root"}, "other files stay whose they are"


@pytest.mark.parametrize(("device", "private"), [("auto", "no"), ("cuda:1", "no"), ("cpu", "yes")])
def test_devices_follow_the_settings(device: str, private: str, tmp_path: Path) -> None:
    text = f"[data]\nname = 'digits'\n[model]\nname = 'mlp'\n[device]\nname = '{device}'\n"
    (tmp_path / "client.toml").write_text(text)
    join.unit(CommandContext(tmp_path), Target(tmp_path / "out", ACCOUNT, False, here=False), papers(tmp_path))
    assert last((tmp_path / "out" / "roughfed-client-alpha.service").read_text(), "PrivateDevices") == private


def test_settings_of_the_shell_do_not_reach_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "client.toml").write_text("[data]\nname = 'digits'\n[model]\nname = 'mlp'\n")
    monkeypatch.setenv("ROUGHFED_DEVICE__NAME", "cpu")
    join.unit(CommandContext(tmp_path), Target(tmp_path / "out", ACCOUNT, False, here=False), papers(tmp_path))
    assert "ROUGHFED_DEVICE__NAME counts here only" in " ".join(capsys.readouterr().err.split())
    assert last((tmp_path / "out" / "roughfed-client-alpha.service").read_text(), "PrivateDevices") == "no"


def test_a_server_gets_a_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "fed", tmp_path / "out"
    folder.mkdir()
    assert cli.run(["init", "--data", "digits", "--name", "north", "--dir", str(folder)]) == 0
    assert cli.run(["server", "--install-to", str(out), "--user", ACCOUNT, "--dir", str(folder), "--json"]) == 0
    unit = out / "roughfed-server-north.service"
    assert answer_of(capsys) == {"unit": str(unit), "started": False}
    assert last(unit.read_text(), "Type") == "notify"
    assert verified(unit) == ""


def test_an_edge_gets_a_unit_that_may_write_its_membership_above(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "fed", tmp_path / "out"
    folder.mkdir()
    assert cli.run(["init", "--data", "digits", "--name", "east", "--dir", str(folder)]) == 0
    command = ["server", "--upstream", "--install-to", str(out), "--user", ACCOUNT, "--dir", str(folder), "--json"]
    assert cli.run(command) == 2
    assert error_of(capsys)["key"] == "--upstream", "it is no client of a federation above"
    assert not out.exists()
    Authority.create(tmp_path / "top", "top", now=datetime.now(UTC))
    client_folder(folder / "upstream", Authority.open(tmp_path / "top"), name="east")
    (folder / "upstream" / "client.toml").unlink()
    assert cli.run(command) == 0
    text = (out / "roughfed-server-east.service").read_text()
    program = shlex.split(last(text, "ExecStart"))
    assert program[-4:] == ["server", "--upstream", "--dir", str(folder)]
    assert parses(program[-4:]) == "server"
    writable = last(text, "BindPaths" if str(folder).startswith("/tmp") else "ReadWritePaths")
    assert (folder / "upstream").is_relative_to(writable)
    assert verified(out / "roughfed-server-east.service") == ""
    assert load_client(folder / "upstream", {}).client.stay == 100, "a service is there for the next run, too"
    if os.geteuid() == 0:
        assert {path.owner() for path in [folder / "upstream", *(folder / "upstream").rglob("*")]} == {ACCOUNT}


def test_a_unit_is_written_again_but_not_over_another_one(tmp_path: Path) -> None:
    folders = [tmp_path / "north", tmp_path / "south"]
    for folder in folders:
        folder.mkdir()
        (folder / "client.toml").write_text("[data]\nname = 'digits'\n[model]\nname = 'mlp'\n")
    target = Target(tmp_path / "out", ACCOUNT, False, here=False)
    alpha = papers(folders[0])
    join.unit(CommandContext(folders[0]), target, alpha)
    first = (tmp_path / "out" / "roughfed-client-alpha.service").read_text()
    join.unit(CommandContext(folders[0]), target, alpha)
    with pytest.raises(ConfigError, match="for something else"):
        join.unit(CommandContext(folders[1]), target, alpha)
    assert (tmp_path / "out" / "roughfed-client-alpha.service").read_text() == first


def test_who_wrote_it_is_told_how_to_start_it(
    tmp_path: Path, booted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "client.toml").write_text("[data]\nname = 'digits'\n[model]\nname = 'mlp'\n")
    alpha = papers(tmp_path)
    monkeypatch.setattr(install, "hand_over", lambda *_: None)
    join.unit(CommandContext(tmp_path), Target(booted, ACCOUNT, False, here=True), alpha)
    said = capsys.readouterr().out
    assert "  systemctl daemon-reload\n  systemctl enable --now roughfed-client-alpha.service\n" in said
    join.unit(CommandContext(tmp_path), Target(tmp_path / "own", "", False, here=True), alpha)
    said = capsys.readouterr().out
    assert "  systemctl --user enable --now roughfed-client-alpha.service\n" in said
    assert "loginctl enable-linger" in said


def test_started_if_asked_and_systemd_has_the_last_word(
    tmp_path: Path, booted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "client.toml").write_text("[data]\nname = 'digits'\n[model]\nname = 'mlp'\n")
    calls = tmp_path / "calls"
    fake = tmp_path / "bin" / "systemctl"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\n[ "$1" = daemon-reload ] || {{ echo "no such luck" >&2; exit 1; }}\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(install, "hand_over", lambda *_: None)
    with pytest.raises(ConfigError, match="no such luck"):
        join.unit(CommandContext(tmp_path), Target(booted, ACCOUNT, True, here=True), papers(tmp_path))
    assert calls.read_text() == "daemon-reload\nenable --now roughfed-client-alpha.service\n"


@root
def test_links_are_not_followed_when_files_change_hands(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("somebody else's")
    folder = tmp_path / "client"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "link").symlink_to(outside)
    install.hand_over(folder, pwd.getpwnam(ACCOUNT))
    assert outside.owner() == "root"
    assert folder.owner() == ACCOUNT, "it holds nothing else"


def test_what_is_read_holds_the_interpreter_and_every_package() -> None:
    import roughfed

    found = install.reads(["/data/set", ""])
    for path in (Path(sys.prefix), Path(sys.base_prefix), Path(roughfed.__file__).parent, Path("/data/set")):
        assert any(path.is_relative_to(each) for each in found), path


def test_the_command_of_a_unit_runs() -> None:
    """ExecStart's program, as a process, with an environment as empty as a service's."""
    done = run(*install.program(), "--version", env={"PATH": "/usr/bin:/bin"}, cwd="/")
    assert (done.returncode, done.stdout.split()[0]) == (0, "roughfed"), done.stderr


# -- the CA of a fed.toml that comes from elsewhere --------------------------------------------------------------------


def test_a_ca_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ca_only = ["init", "--ca-only", "--dir", str(tmp_path), "--json"]
    assert cli.run(ca_only) == 2
    assert error_of(capsys)["file"].endswith("fed.toml")
    (tmp_path / "fed.toml").write_text("[federation]\nname = 'north'\n[data]\nname = 'digits'\n[model]\nname = 'mlp'\n")
    assert cli.run(ca_only) == 0
    first = answer_of(capsys)
    assert cli.run(ca_only) == 0
    assert answer_of(capsys) == {**first, "made": False}
    assert Authority.open(ServerFiles(tmp_path).ca).federation == first["federation"] == "north"
    assert cli.run([*ca_only, "--name", "south"]) == 2
    assert error_of(capsys)["key"] == "--ca-only"


def test_the_ca_of_another_federation_is_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Authority.create(ServerFiles(tmp_path).ca, "south", now=datetime.now(UTC))
    (tmp_path / "fed.toml").write_text("[federation]\nname = 'north'\n")
    assert cli.run(["init", "--ca-only", "--dir", str(tmp_path), "--json"]) == 2
    assert error_of(capsys)["key"] == "federation.name"


def test_a_unit_names_each_setting_once() -> None:
    from roughfed.deploy import systemd

    for role in systemd.TEMPLATES:
        keys = [key for key, _ in entries(systemd.template(role))]
        twice = {key for key in keys if keys.count(key) > 1}
        assert twice == {"SystemCallFilter"}, "lines are replaced by their key"
