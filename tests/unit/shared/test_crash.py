"""Crash points: the tables name what the code has, and the named one kills at the right moment."""

import ast
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from roughfed import crash

ROOT = Path(__file__).resolve().parents[3]
TABLES = {"server": crash.SERVER_POINTS, "client": crash.CLIENT_POINTS, "client/trainer": crash.TRAINER_POINTS}
POINTS = {name: what for table in TABLES.values() for name, what in table.items()}


def points_in(folder: str) -> Counter[str]:
    """Names in the calls `crash.point("...")` of a folder's files; f"{x}-taken" stands for every name that ends so."""
    names: Counter[str] = Counter()
    inside = [ROOT / other for other in TABLES if other.startswith(f"{folder}/")]
    for path in (ROOT / folder).rglob("*.py"):
        if any(path.is_relative_to(other) for other in inside):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "crash.point":
                name = node.args[0]
                if isinstance(name, ast.JoinedStr):
                    ending = ast.literal_eval(name.values[-1])
                    names.update(known for known in POINTS if known.endswith(ending))
                else:
                    names[ast.literal_eval(name)] += 1
    return names


@pytest.mark.parametrize(("folder", "table"), TABLES.items())
def test_the_table_and_the_code_name_the_same_points_once(folder: str, table: dict[str, str]) -> None:
    assert points_in(folder) == Counter(list(table))


def test_a_name_is_one_sides_only() -> None:
    assert len(POINTS) == sum(map(len, TABLES.values()))
    assert not points_in("shared")
    assert not points_in("deploy")


PASS_ALL = f"""
from roughfed import crash
for n in range(4):
    for name in {list(POINTS)}:
        print(n, name, flush=True)
        crash.point(name)
"""


def run(where: str | None) -> tuple[int, list[str]]:
    env = {name: value for name, value in os.environ.items() if name != "ROUGHFED_CRASH_AT"}
    if where is not None:
        env["ROUGHFED_CRASH_AT"] = where
    done = subprocess.run([sys.executable, "-c", PASS_ALL], env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize(("where", "last"), [("committed", "0 committed"), ("upload-cut:3", "2 upload-cut")])
def test_it_dies_at_the_nth_time_without_a_last_word(where: str, last: str) -> None:
    code, printed = run(where)
    assert code == -signal.SIGKILL
    assert printed[-1] == last


@pytest.mark.parametrize("where", [None, "committed:5"])
def test_otherwise_it_lives(where: str | None) -> None:
    code, printed = run(where)
    assert code == 0
    assert len(printed) == 4 * len(POINTS)


def test_an_unknown_point_in_the_code_is_a_bug_that_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUGHFED_CRASH_AT", "somewhere-else")
    with pytest.raises(KeyError):
        crash.point("no-such-point")
    for name in POINTS:
        crash.point(name)
