"""What holds for every command, those of groups included: help, documentation, flags, JSON and exit codes.

A command that is added is walked over by itself; one that asks for an argument, or that would run for long, has a row
below.
"""

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli import reference
from roughfed.deploy.cli.command import COMMON, EXIT_CODES
from tests.unit.command_line import build_once

Path_ = tuple[str, ...]
PAGE = (Path(__file__).resolve().parents[4] / "docs" / "cli.md").read_text(encoding="utf-8")

GIVEN: Mapping[str, list[str]] = {
    "invite": ["alpha"],
    "revoke": ["alpha"],
    "quarantine": ["alpha"],
    "release": ["alpha"],
    "vouch": ["alpha"],
    "backup": ["--out", "backup.tar"],
    "restore": ["backup.tar"],
    "export": ["--out", "model.safetensors"],
    "personal": ["--out", "model.safetensors"],
    "ledger export": ["--out", "ledger.jsonl"],
    "doctor": ["--only", "settings"],
}
"""Arguments of commands that ask for some."""

WORKS = {"init", "doctor"}
"""Commands that an empty directory is enough for."""

LONG = ("demo", "audit", "chaos", "simulate", "bench")
"""Commands that would run for long: they are given a number that is none."""

ERROR = {"reason", "message", "file", "key", "cause", "cure"}


def commands(app: Any = None, path: Path_ = ()) -> Iterator[tuple[Path_, Callable[..., object]]]:
    """Every command, those of groups included, by its words."""
    app = app or cli.build()
    for each in app.registered_commands:
        yield (*path, str(each.name)), each.callback
    for group in app.registered_groups:
        yield from commands(group.typer_instance, (*path, str(group.name)))


COMMANDS = dict(commands())
GROUPS = sorted({path[:-1] for path in COMMANDS if len(path) > 1})


def named(path: Path_) -> str:
    return " ".join(path)


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.delenv("ROUGHFED_JOIN", raising=False)
    monkeypatch.chdir(tmp_path)
    build_once(monkeypatch)


def spoilt(command: Callable[..., object]) -> list[str]:
    """A number of the command that is none, so that it refuses before it begins."""
    common = {name for name, _, _ in COMMON}
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name not in common and reference._kind(parameter) in (int, float):
            return [reference._names(parameter)[0].split()[0], "many"]
    return ["--no-such-flag"]


def answer(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, dict[str, Any]]:
    """The exit code and the last line of stdout, all of whose lines are JSON objects."""
    code = cli.run([*arguments, "--json"])
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines, err
    assert all(isinstance(line, dict) for line in lines)
    assert "Traceback" not in err
    return code, lines[-1]


def test_the_walk_sees_groups_and_rows_are_of_commands() -> None:
    names = {named(path) for path in COMMANDS}
    assert names >= {"server", "ledger verify", "bench round", "doctor"}
    assert names >= set(GIVEN)
    assert names >= WORKS


@pytest.mark.parametrize("path", COMMANDS, ids=named)
def test_help_documentation_and_a_wrong_flag(path: Path_, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*path, "--help"]) == 0
    assert "Usage: roughfed" in capsys.readouterr().out
    assert f"## roughfed {named(path)}" in PAGE

    code, told = answer(capsys, [*path, "--no-such-flag"])
    assert (code, told["error"]["reason"]) == (2, "usage")
    assert set(told["error"]) == ERROR
    assert told["error"]["cure"].startswith("roughfed ")
    assert told["error"]["cause"]


@pytest.mark.parametrize("path", COMMANDS, ids=named)
def test_json_and_the_exit_code_in_an_empty_directory(path: Path_, capsys: pytest.CaptureFixture[str]) -> None:
    given = spoilt(COMMANDS[path]) if path[0] in LONG else GIVEN.get(named(path), [])
    code, told = answer(capsys, [*path, *given])

    assert code in EXIT_CODES
    assert f"| {code} |" in PAGE
    assert (code == 0) == (named(path) in WORKS)
    if code == 0:
        assert told
        assert "error" not in told
        return
    error = told["error"]
    assert set(error) >= ERROR
    assert all(error[key] for key in ("reason", "message", "cause", "cure")), error
    assert list(Path.cwd().iterdir()) == []  # a refusal leaves nothing behind


@pytest.mark.parametrize("path", GROUPS, ids=named)
def test_a_group_without_a_command_is_wrong_usage(path: Path_, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*path]) == 2
    assert "error: Missing command" in capsys.readouterr().err
    code, told = answer(capsys, [*path, "no-such-command"])
    assert (code, told["error"]["reason"]) == (2, "usage")
