"""What every command has in common: flags, answers, errors, exit codes, a quick start."""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, get_args

import pytest
import typer

from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli import operate, reference
from roughfed.deploy.cli.command import COMMON, EXIT_CODES, Answer, CommandContext, command
from roughfed.errors import ConfigError, IdentityError, RoughfedError, StorageError, TrainerError, Unreachable

HEAVY = ("torch", "grpc", "numpy", "pydantic", "sklearn", "safetensors")


@pytest.fixture(autouse=True)
def own_excepthook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # run() replaces it; put it back


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_help_loads_nothing_heavy_and_names_every_command() -> None:
    done = python(
        "import sys\n"
        "sys.argv = ['roughfed', '--help']\n"
        "from roughfed.deploy.cli import main\n"
        f"code = main(); print(code, [m for m in {HEAVY} if m in sys.modules])"
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
    for name in (
        "demo",
        "init",
        "server",
        "ca",
        "invite",
        "join",
        "revoke",
        "plan",
        "status",
        "pause",
        "resume",
        "stop",
    ):
        assert f"\n  {name} " in done.stdout


def test_it_runs_as_a_module() -> None:
    command_line = [sys.executable, "-m", "roughfed.deploy.cli", "--version"]
    done = subprocess.run(command_line, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("roughfed ")


def test_every_command_has_the_common_flags() -> None:
    found = list(cli.build().registered_commands)
    assert len(found) >= 14
    for each in found:
        names = list(reference.inspect.signature(each.callback).parameters)  # pyright: ignore[reportArgumentType]
        assert {name for name, _, _ in COMMON} <= set(names), each.name


def test_a_dataclass_becomes_flags(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Flags:
        number: Annotated[int, typer.Option(help="A number.")] = 1
        names: Annotated[list[str], typer.Option("--name")] = ()  # pyright: ignore[reportAssignmentType]

    seen: list[object] = []

    def work(context: CommandContext, flags: Flags) -> Answer:
        seen.append((context.json, flags.number, list(flags.names)))
        return Answer({"done": True}, 7)

    application = typer.Typer()
    application.callback()(lambda: None)
    command(application, "work", flags=Flags)(work)
    code = application(args=["work", "--number", "3", "--name", "a", "--name", "b", "--json"], standalone_mode=False)

    assert code == 7
    assert seen == [(True, 3, ["a", "b"])]
    assert json.loads(capsys.readouterr().out) == {"done": True}


@pytest.mark.parametrize(
    ("error", "code", "wanted"),
    [
        (
            ConfigError("it is red", file="fed.toml", key="a.b", cure="paint it"),
            2,
            {"key": "a.b", "cause": "it is red"},
        ),
        (IdentityError("who?", reason="token-used"), 3, {"reason": "token-used", "cure": ""}),
        (StorageError("full"), 4, {"reason": "storage"}),
        (TrainerError("died", reason="killed"), 5, {"reason": "killed"}),
        (Unreachable("silence", cure="knock"), 6, {"reason": "unreachable", "cure": "knock"}),
        (RoughfedError("?"), 1, {"reason": "error"}),
        (PermissionError(13, "Permission denied", "x"), 4, {"reason": "storage", "message": "x: Permission denied"}),
    ],
)
def test_an_error_becomes_two_lines_one_object_and_a_code(
    error: Exception,
    code: int,
    wanted: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> Answer:
        raise error

    monkeypatch.setattr(operate, "pause", fail)
    assert cli.run(["pause", "--json"]) == code
    out, err = capsys.readouterr()
    data = json.loads(out)["error"]
    assert data | wanted == data
    assert set(data) == {"reason", "message", "file", "key", "cause", "cure"}
    assert err.startswith(f"error: {data['message']}\n")
    assert (f"hint: {data['cure']}\n" in err) == bool(data["cure"])
    assert "Traceback" not in err
    assert code in EXIT_CODES

    assert cli.run(["pause", "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Answer:
        raise KeyboardInterrupt

    monkeypatch.setattr(operate, "pause", interrupted)
    assert cli.run(["pause"]) == 130


def test_a_fault_of_ours_shows_no_trace_without_debug() -> None:
    code = (
        "import sys\n"
        "from roughfed.deploy.cli import operate, main\n"
        "operate.pause = lambda context: 1 / 0\n"
        "sys.argv = ['roughfed', 'pause', *sys.argv[1:]]\n"
        "sys.exit(main())"
    )
    done = python(code.replace("*sys.argv[1:]", "'--json'"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ZeroDivisionError: division by zero\nhint: ")
    assert json.loads(done.stdout)["error"]["reason"] == "fault"
    assert "Traceback" in python(code.replace("*sys.argv[1:]", "'--debug'")).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["export"], "Missing option '--out'"),
        (["plan", "--clients", "many"], "Invalid value for '--clients'"),
        (["bench"], "Missing command"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*arguments, "--json"] if arguments != ["bench"] else arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {message}")
    assert "hint: roughfed" in err
    assert arguments == ["bench"] or json.loads(out)["error"]["reason"] == "usage"


def test_no_command_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 0
    assert "Usage: roughfed" in capsys.readouterr().out


def test_a_reader_that_is_gone_ends_it_quietly() -> None:
    first = f"{sys.executable} -m roughfed.deploy.cli server --crash-points"
    done = subprocess.run(["sh", "-c", f"{first} | head -n 1"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("server:\n", "")


def test_crash_points_are_those_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    from roughfed.crash import CLIENT_POINTS, SERVER_POINTS, TRAINER_POINTS

    assert cli.run(["server", "--crash-points", "--json"]) == 0
    tables = {"server": SERVER_POINTS, "client": CLIENT_POINTS, "trainer": TRAINER_POINTS}
    assert json.loads(capsys.readouterr().out) == tables


def test_the_reference_is_up_to_date() -> None:
    from pathlib import Path

    page = Path(__file__).resolve().parents[4] / "docs" / "cli.md"
    assert page.read_text(encoding="utf-8") == reference.reference()


def test_every_flag_has_a_meaning() -> None:
    for each in cli.build().registered_commands:
        for parameter in reference.inspect.signature(each.callback).parameters.values():  # pyright: ignore[reportArgumentType]
            notes = get_args(parameter.annotation)[1:]
            assert any(getattr(note, "help", "") for note in notes), (each.name, parameter.name)
