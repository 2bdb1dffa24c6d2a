"""`roughfed doctor` as a whole: which checks run, for how long, what is printed, and the exit code."""

import io
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli.command import EXIT_CODES, UNWELL
from roughfed.deploy.doctor import CHECKS, Check
from roughfed.deploy.doctor.finding import CheckState, Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.once import Once
from roughfed.deploy.doctor.run import examine
from roughfed.deploy.doctor.site import role_of
from roughfed.deploy.doctor.table import draw
from roughfed.errors import ConfigError
from tests.unit.deploy.doctor.doctor_sites import FED, server_folder, site

Row = Mapping[str, Check]


@pytest.fixture(autouse=True)
def own_excepthook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def rows(**looks: object) -> Row:
    def call(what: object) -> Iterable[Finding]:
        if isinstance(what, Exception):
            raise what
        return [what] if isinstance(what, Finding) else what()  # pyright: ignore[reportCallIssue]

    return {name: Check(lambda _, what=what: call(what), "-") for name, what in looks.items()}


def test_findings_come_in_the_order_of_the_table(tmp_path: Path) -> None:
    first = threading.Event()

    def late() -> Iterable[Finding]:
        assert first.wait(10)
        yield ok("a")

    def soon() -> Iterable[Finding]:
        first.set()
        yield ok("b")

    found = examine(site(tmp_path), checks=rows(one=late, two=soon))  # at once: the first waits for the second
    assert [(name, f[0].sentence) for name, f in found.findings.items()] == [("one", "a"), ("two", "b")]
    assert found.well


def test_a_check_that_hangs_is_a_warning_and_holds_nobody_up(tmp_path: Path) -> None:
    ever = threading.Event()

    def hangs() -> Iterable[Finding]:
        ever.wait()
        yield ok("-")

    began = time.monotonic()
    found = examine(site(tmp_path, until=began + 0.3), checks=rows(slow=hangs, fine=ok("b")))
    ever.set()
    assert time.monotonic() - began < 5
    assert found.findings["slow"][0].state is CheckState.WARNING
    assert "--only slow --within" in found.findings["slow"][0].cure
    assert found.findings["fine"][0].state is CheckState.OK


@pytest.mark.parametrize(
    ("error", "said", "cure"),
    [
        (ConfigError("it is red", cure="paint it"), "it is red", "paint it"),
        (PermissionError(13, "Permission denied"), "Permission denied", "correct that"),
        (sqlite3.OperationalError("locked"), "locked", "correct that"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError", "a fault of roughfed"),
    ],
)
def test_a_check_that_falls_over_takes_nobody_along(tmp_path: Path, error: Exception, said: str, cure: str) -> None:
    found = examine(site(tmp_path), checks=rows(bad=error, fine=ok("b")))
    (finding,) = found.findings["bad"]
    assert finding.state is CheckState.FAILURE
    assert said in finding.sentence
    assert cure in finding.cure
    assert found.findings["fine"][0].state is CheckState.OK


def test_a_value_is_worked_out_once_and_its_error_goes_to_all() -> None:
    calls = list[int]()

    def make() -> int:
        calls.append(1)
        return len(calls)

    value = Once(make)
    assert [value(), value()] == [1, 1]
    broken = Once(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            broken()


def test_what_lives_in_a_directory(tmp_path: Path) -> None:
    assert role_of(tmp_path) == "none"
    (tmp_path / "ca" / "state" / "ca").mkdir(parents=True)
    (tmp_path / "ca" / "state" / "ca" / "ca.key").touch()
    assert role_of(tmp_path / "ca") == "server"  # its fed.toml is still to come
    (tmp_path / "client.toml").touch()
    assert role_of(tmp_path) == "client"
    (tmp_path / "fed.toml").touch()
    assert role_of(tmp_path) == "server"


def printed(found: object, *, everything: bool = False, width: int = 80) -> str:
    console = Console(width=width, no_color=True, file=io.StringIO())
    console.print(draw(found, "here", everything=everything))  # pyright: ignore[reportArgumentType]
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_the_table_says_each_state_in_a_symbol_and_a_word(tmp_path: Path) -> None:
    several = [ok("x", about="p"), ok("y", about="q"), skipped("z", about="r")]
    found = examine(
        site(tmp_path),
        checks=rows(
            bad=failure("it broke", measured="3 s", cure="mend it"),
            mild=warning("it may break", cure="look after it"),
            fine=lambda: several,
            away=skipped("not here"),
        ),
    )
    text = printed(found)
    for expected in ("✗ failure", "! warning", "✓ ok", "it broke (3 s)", "-> mend it", "p, q"):
        assert expected in text
    assert "- not applicable: fine: r, away" in text
    assert "failures: 1, warnings: 1, in order: 2" in text
    assert "✓ ok        fine: p" in printed(found, everything=True)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "all is well" in printed(examine(site(tmp_path), checks=rows(fine=ok("b"))))
    assert "nothing was looked at" in printed(examine(site(tmp_path), checks=rows(aside=skipped("not here"))))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = cli.run(["doctor", *arguments, "--json"])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    (line,) = out.splitlines()
    return code, json.loads(line)


def test_the_exit_code_says_whether_something_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = server_folder(tmp_path / "server")
    quick = [part for name in ("settings", "authority", "certificate") for part in ("--only", name)]
    code, told = run(capsys, "--dir", str(server), *quick)
    assert (code, told["well"], told["role"], told["running"]) == (0, True, "server", False)
    assert {row["check"] for row in told["findings"]} == {"settings", "authority", "certificate"}

    (server / "fed.toml").write_text(FED.replace('"mlp"', "7"))
    code, told = run(capsys, "--dir", str(server), *quick)
    assert (code, told["well"]) == (UNWELL, False)
    (bad,) = [row for row in told["findings"] if row["state"] == "failure"]
    assert (bad["check"], bad["about"]) == ("settings", "fed.toml")
    assert "model.name" in bad["sentence"]
    assert bad["cure"].startswith("Write")
    assert code in EXIT_CODES


def test_wrong_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "--only", "disks")
    assert code == 2
    assert told["error"]["cure"].startswith("did you mean disk? one of: installation")
    code, told = run(capsys, "--dir", str(tmp_path / "nowhere"))
    assert (code, told["error"]["cause"]) == (2, "there is no such directory")


def test_the_list_names_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "--list")
    assert (code, list(told)) == (0, list(CHECKS))


def test_every_check_gives_findings_in_an_empty_directory(tmp_path: Path) -> None:
    here = site(tmp_path, examined=lambda: None)
    asked = {name: check for name, check in CHECKS.items() if name not in ("installation", "device")}  # children
    found = examine(here, checks=asked)
    assert found.well, found
    assert all(found.findings.values())
    assert list(tmp_path.iterdir()) == []  # nothing is made


def test_no_secret_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = server_folder(tmp_path / "server")
    asked = [part for name in CHECKS if name not in ("installation", "device", "data") for part in ("--only", name)]
    cli.run(["doctor", "--dir", str(server), *asked, "--json", "--debug"])
    out, err = capsys.readouterr()
    for line in (server / "state" / "ca" / "ca.key").read_text().splitlines()[1:-1]:
        assert line not in out + err


@pytest.mark.slow
def test_the_doctor_loads_no_torch() -> None:
    code = "import sys; import roughfed.deploy.doctor.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
