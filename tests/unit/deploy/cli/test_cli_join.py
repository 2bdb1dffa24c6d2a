"""`roughfed join` up to the point where the agent starts: the line, the settings, the refusals."""

import io
import json
import sys
from pathlib import Path

import pytest

from roughfed.client.members.credential_files import Credentials
from roughfed.config import load_client
from roughfed.crypto.join_line import JoinLine
from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli import join, processes
from roughfed.deploy.cli.command import CommandContext
from roughfed.errors import ConfigError

LINE = JoinLine("fed.example.org", 8444, bytes(32), bytes(range(32)))


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for name in ("ROUGHFED_JOIN", processes.SHARED_HOST):
        monkeypatch.delenv(name, raising=False)


def error_of(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])["error"]


def test_the_line_from_the_environment_does_not_stay_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUGHFED_JOIN", LINE.reveal())
    assert join.find_line(join.JoinFlags()) == LINE
    assert "ROUGHFED_JOIN" not in join.os.environ
    assert join.find_line(join.JoinFlags()) is None


@pytest.mark.parametrize("text", [LINE.reveal(), LINE.command()])
def test_the_line_from_a_pipe_or_a_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text + "\n"))
    assert join.find_line(join.JoinFlags(line="-")) == LINE
    (tmp_path / "line").write_text(text + "\n")
    assert join.find_line(join.JoinFlags(token_file=tmp_path / "line")) == LINE


def test_an_empty_pipe_is_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(ConfigError, match="no '#'"):
        join.find_line(join.JoinFlags(line="-"))


def test_a_line_as_an_argument_is_refused_and_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["join", LINE.reveal(), "--dir", str(tmp_path), "--data", "digits", "--json"]) == 2
    out, err = capsys.readouterr()
    assert "every user of this machine can read the arguments" in json.loads(out)["error"]["cause"]
    token = LINE.reveal().partition("#")[2]
    assert token not in out + err


def test_nothing_is_spent_before_it_is_known_what_to_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--dir", str(tmp_path), "--json"]
    assert cli.run(["join", *folder]) == 2
    assert "--data digits" in error_of(capsys)["cure"]
    assert cli.run(["join", "--model", "mlp", *folder]) == 2
    assert error_of(capsys)["key"] == "model.name"
    assert cli.run(["join", "--data", "digits", "--clients", "2", "--index", "2", *folder]) == 2
    assert error_of(capsys)["key"] == "data.index"
    assert list(tmp_path.iterdir()) == []


def test_neither_enrolled_nor_invited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["join", "--data", "digits", "--dir", str(tmp_path), "--json"]) == 2
    assert "roughfed invite NAME" in error_of(capsys)["cure"]
    assert not (tmp_path / "client.toml").exists()


def test_a_server_that_is_down_is_6(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = JoinLine("127.0.0.1", 1, bytes(32), bytes(32))
    (tmp_path / "line").write_text(line.reveal())
    flags = ["--token-file", str(tmp_path / "line"), "--data", "digits", "--dir", str(tmp_path / "c"), "--json"]
    assert cli.run(["join", *flags]) == 6
    error = error_of(capsys)
    assert error["reason"] == "unreachable"
    assert "roughfed server" in error["cure"]
    assert not (tmp_path / "c" / "client.toml").exists()


def papers(folder: Path) -> Credentials:
    """Only its name is looked at."""
    enrolled = object.__new__(Credentials)
    object.__setattr__(enrolled, "subject", type("Subject", (), {"name": "alpha"}))
    object.__setattr__(enrolled, "folder", folder)
    return enrolled


def test_the_written_settings_are_those_that_were_checked(tmp_path: Path) -> None:
    flags = join.JoinFlags(data="digits", clients=4, index=1, partition="iid", seed=7, device="cpu", threads=2)
    checked = join.settings(CommandContext(tmp_path), flags, written=False)
    join.write_settings(CommandContext(tmp_path), flags, papers(tmp_path), "sums")
    written = load_client(tmp_path, {})
    assert written.policy.server_sees == "sums"
    assert written.client.name == "alpha"
    assert written.data == checked.data
    assert (written.data.clients, written.data.index, written.data.seed, written.model.name) == (4, 1, 7, "mlp")
    assert (written.device.name, written.device.threads) == ("cpu", 2)


def test_flags_beat_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "client.toml").write_text("[data]\nname = 'digits'\nclients = 3\n[model]\nname = 'mlp'\n")
    config = join.settings(CommandContext(tmp_path), join.JoinFlags(index=2, device="cpu"), written=True)
    assert (config.data.clients, config.data.index, config.device.name) == (3, 2, "cpu")


def test_the_trainer_of_a_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roughfed.cores.os.sched_getaffinity", lambda _: set(range(8)))
    config = join.settings(CommandContext(tmp_path), join.JoinFlags(data="digits", clients=4, index=1), written=False)
    command = processes.client_command(tmp_path, config)
    builtin = json.loads(command[command.index("--builtin") + 1])
    assert builtin["data"] | {"name": "digits", "clients": 4, "index": 1, "seed": 0} == builtin["data"]
    assert builtin["model"]["name"] == "mlp"
    assert command[command.index("--threads") + 1] == "0"  # it shares the cores with whoever is there
    monkeypatch.setenv(processes.SHARED_HOST, "3")
    assert processes.threads_here(0) == 2
    assert processes.threads_here(5) == 5
    monkeypatch.setenv(processes.SHARED_HOST, "few")
    with pytest.raises(ConfigError, match="no number of clients"):
        processes.threads_here(0)


def test_an_own_app_is_found_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "my.py").touch()
    flags = join.JoinFlags(app=f"{tmp_path}/my.py:client")
    assert flags.values(tmp_path)["app.path"] == "my.py:client"
    config = join.settings(CommandContext(tmp_path), flags, written=False)
    command = processes.client_command(tmp_path, config)
    assert command[command.index("--app") + 1] == f"{tmp_path}/my.py:client"
