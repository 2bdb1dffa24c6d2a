"""`roughfed rounds`: the same figures as a table, CSV and JSON lines; typed, and no text becomes a formula."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli.rounds import _missing
from roughfed.deploy.rounds_table import COLUMNS, FORMULA, as_csv, as_jsonl, rows
from roughfed.report.summary import RoundSummary
from tests.simulation.rig import whole_run

ROUND = RoundSummary(
    round=3,
    version=2,
    outcome="abandoned",
    seconds=1.5,
    participants=["a", "b", "c"],
    accepted=["a"],
    excluded=[("b", "norm")],
    dropped=["c", "d"],
    gone=["d"],
    upload_bytes=10,
    download_bytes=20,
    accuracy=0.25,
    loss=float("inf"),
)
KINDS = {"integer": int, "number": float, "text": str}


def test_a_row_says_what_the_round_was() -> None:
    (row,) = rows([ROUND])
    assert {key: row[key] for key in ("round", "asked", "accepted", "excluded_count", "dropped_count")} == {
        "round": 3, "asked": 3, "accepted": 1, "excluded_count": 1, "dropped_count": 2,
    }  # fmt: skip
    assert (row["excluded"], row["dropped"], row["gone"], row["accuracy"]) == ({"b": "norm"}, ["c", "d"], ["d"], 0.25)
    assert _missing(row) == "b norm, c late, d gone"
    assert row["loss"] is None  # it diverged, and infinity is no JSON
    assert row["tail_accuracy"] is None


def test_csv_has_a_header_and_cells_of_the_columns_types() -> None:
    (cells,) = csv.DictReader(as_csv(rows([ROUND])).splitlines())
    assert list(cells) == list(COLUMNS)
    for name, column in COLUMNS.items():
        if cells[name]:
            KINDS[column.kind](cells[name])
    assert (cells["excluded"], cells["dropped"], cells["loss"]) == ("b: norm", "c; d", "")


@settings(max_examples=30)
@given(names=st.lists(st.text(max_size=8), min_size=1, max_size=3), reason=st.text(max_size=8))
def test_no_text_begins_like_a_formula_and_everything_comes_back(names: list[str], reason: str) -> None:
    hostile = [names[0] or "=1+1", *names[1:]]
    found = rows([replace(ROUND, dropped=hostile, excluded=[("=HYPERLINK(0)", reason)])] * 2)
    written = list(csv.reader(io.StringIO(as_csv(found), newline="")))
    for row in written[1:]:
        assert len(row) == len(COLUMNS)
        for cell, column in zip(row, COLUMNS.values(), strict=True):
            assert column.kind != "text" or not cell.startswith(FORMULA)
    lines = [json.loads(line) for line in as_jsonl(found).split("\n")[:-1]]
    assert [line["dropped"] for line in lines] == [hostile] * 2


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("played")
    _, rig = whole_run(folder / "state", {"gamma": "poison"}, rounds=3)
    rig.ctx.executor.shutdown()
    (folder / "fed.toml").write_text("[model]\nname = 'mlp'\n[data]\nname = 'digits'\n")
    return folder


def test_the_table(played: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["rounds", "--dir", str(played)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["round", "outcome", "time", "in"]
    assert [line.split()[:2] for line in lines[1:]] == [[str(number), "committed"] for number in (1, 2, 3)]
    assert all("2/3" in line and "gamma not-finite" in line for line in lines[1:])
    assert max(len(line) for line in lines) <= 80


@pytest.mark.parametrize(
    ("flags", "numbers"), [([], [1, 2, 3]), (["--last", "2"], [2, 3]), (["--last", "9"], [1, 2, 3])]
)
def test_as_json(played: Path, flags: list[str], numbers: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["rounds", "--dir", str(played), "--json", *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["round"] for row in found["rounds"]] == numbers
    assert found["rounds"][0]["excluded"] == {"gamma": "not-finite"}


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_as_a_file(played: Path, name: str) -> None:
    out = played / name
    assert cli.run(["rounds", "--dir", str(played), "--out", str(out), "--last", "2"]) == 0
    text = out.read_bytes().decode()
    written = (
        [json.loads(each) for each in text.splitlines()]
        if name == "out.jsonl"
        else list(csv.DictReader(text.splitlines()))
    )
    assert [int(row["round"]) for row in written] == [2, 3]


@pytest.mark.parametrize(
    ("out", "code", "said"),
    [("rounds.xlsx", 2, ".csv"), ("rounds", 2, ".csv"), ("no/such/rounds.csv", 4, "No such file")],
)
def test_what_cannot_be_written_is_said(
    played: Path, out: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["rounds", "--dir", str(played), "--json", "--out", str(played / out)]) == code
    error = json.loads(capsys.readouterr().out)["error"]
    assert said in error["cause"] + error["cure"]


def test_the_lines_of_the_document(played: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = (Path(__file__).parents[3] / "docs" / "operate.md").read_text()
    monkeypatch.chdir(played)
    lines = [line for line in document.splitlines() if line.startswith("roughfed rounds ")]
    assert len(lines) == 3
    for line in lines:
        assert cli.run(line.split()[1:]) == 0
    assert {"rounds.csv", "rounds.jsonl"} <= {path.name for path in played.iterdir()}
    for name, column in COLUMNS.items():
        assert f"| `{name}` | {column.kind} | {column.meaning} |" in document
