"""Bad configurations through the command line: each is answered with place, key, cause, cure and exit code 2."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from roughfed.deploy import agent, aggregator
from roughfed.deploy.cli import app as cli
from roughfed.deploy.doctor.checks.settings import settings
from roughfed.deploy.doctor.finding import CheckState
from tests.unit.bad_command_lines import CASES, FED, FOLDER, LINK, Case, Files
from tests.unit.command_line import build_once
from tests.unit.deploy.doctor.doctor_sites import site

CORPUS = sorted((Path(__file__).parents[1] / "bad_configs").glob("*.toml"))
JARGON = ("Input should", "Traceback", "pydantic", "validation error", "type=", "Extra inputs", "NoneType", "Errno")


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for name in [name for name in os.environ if name.startswith("ROUGHFED_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(aggregator, "run_server", lambda *_, **__: pytest.fail("the server would have started"))
    monkeypatch.setattr(agent, "run_blocking", lambda *_, **__: pytest.fail("the client would have started"))
    monkeypatch.chdir(tmp_path)
    build_once(monkeypatch)


def put(files: Files) -> None:
    for name, content in files.items():
        path = Path(name)
        if content == FOLDER:
            path.mkdir()
        elif isinstance(content, str) and content.startswith(LINK):
            path.symlink_to(content.removeprefix(LINK))
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


def refused(capsys: pytest.CaptureFixture[str], line: str) -> dict[str, Any]:
    """What a command line answers that ends with 2: one error, the same for people and in JSON."""
    code = cli.run([*shlex.split(line), "--json"])
    out, err = capsys.readouterr()
    assert code == 2, (out, err)
    (told,) = map(json.loads, out.splitlines())
    error = told["error"]
    assert f"hint: {error['cure']}" in err
    assert f"error: {error['message']}" in err
    assert not [word for word in JARGON if word in out + err]
    return error


def test_the_corpus_is_large_enough() -> None:
    assert len(CASES) >= 40
    assert len(CASES) + len(CORPUS) >= 200


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_bad_command_line_is_answered(
    case: Case, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(case.files)
    for name, text in case.env.items():
        monkeypatch.setenv(name, text)
    before = sorted(Path.cwd().rglob("*"))

    error = refused(capsys, case.line)

    assert error["file"].endswith(case.where)
    assert error["key"] == case.key
    assert case.where or error["key"].startswith(("--", "ROUGHFED_"))  # a file, a variable or a flag: always a place
    assert case.cause in error["cause"]
    assert case.cure in error["cure"]
    assert sorted(Path.cwd().rglob("*")) == before  # nothing was begun


@pytest.mark.parametrize("source", CORPUS, ids=lambda p: p.stem)
def test_a_bad_file_is_answered_by_the_command_and_by_the_doctor(
    source: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key, cause, cure = (
        part.strip() for part in source.read_text().splitlines()[0].removeprefix("# expect: ").split(" | ")
    )
    name = "client.toml" if source.name.startswith("client-") else "fed.toml"
    (tmp_path / name).write_bytes(source.read_bytes())

    error = refused(capsys, "join" if name == "client.toml" else "plan")

    assert error["key"] == key.removeprefix("-")
    assert name in error["file"]
    assert cause in error["cause"]
    assert cure in error["cure"]
    (found,) = (f for f in settings(site(tmp_path)) if f.state is CheckState.FAILURE)
    assert (cause in found.sentence, found.cure) == (True, error["cure"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_what_editors_add_is_no_fault(encoding: str, capsys: pytest.CaptureFixture[str]) -> None:
    put({"fed.toml": FED.replace("\n", "\r\n").encode(encoding)})
    assert cli.run(["plan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]


def test_several_problems_are_listed_each_with_its_cure(capsys: pytest.CaptureFixture[str]) -> None:
    put({"fed.toml": '[round]\nrounds = "x"\n[server]\nhttp = 3\n'})
    error = refused(capsys, "plan")
    assert [p["key"] for p in error["problems"]] == ["round.rounds", "server.http"]
    assert all(p["file"] and p["cause"] and p["cure"] for p in error["problems"])
