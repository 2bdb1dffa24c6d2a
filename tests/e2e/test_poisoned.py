"""Poison between real processes, masks on: who attacks is left out, nobody else is, and the model is none the worse.

Each test plays `roughfed demo --scenario poisoned`: the same clients without an attack, with it, and defended.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from roughfed.report.summary import RunSummary

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DEMO = (sys.executable, "-m", "roughfed.deploy.cli", "demo", "--json", "--scenario", "poisoned")
HOSTILE = ["client-7", "client-8"]
ROUNDS = 6
SMALL = ("--clients", "8", "--attackers", "0.25", "--rounds", str(ROUNDS), "--seed", "3")
POINTS = 0.02
"""A run is as good as another one within so much: of 359 test images, 7."""


def poisoned(out: Path, attack: str, *flags: str) -> dict[str, Any]:
    """What a poisoned demo tells; nothing of it may have crashed."""
    command = [*DEMO, "--attack", attack, "--out", str(out), *SMALL, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for log in out.glob("**/logs/*.log"):
        assert "Traceback" not in log.read_text(), log
    told = json.loads(done.stdout)
    assert (told["attack"], told["attackers"]) == (attack, HOSTILE)
    return told


def rounds_without(told: dict[str, Any]) -> list[list[int]]:
    """In which rounds each of the attackers was left out."""
    return [told["excluded"].get(name, []) for name in HOSTILE]


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["sign-flip", "twins"])
def test_attackers_are_left_out_from_the_first_round_on_and_nobody_else_is(tmp_path: Path, attack: str) -> None:
    told = poisoned(tmp_path / "d", attack)

    assert rounds_without(told) == [list(range(1, ROUNDS + 1))] * 2
    assert (told["false_exclusions"], told["defence"], told["server_sees"]) == (0, "default", "sketches")
    assert told["accuracy"] > told["plain_accuracy"] + POINTS
    assert told["accuracy"] > told["clean_accuracy"] - 3 * POINTS
    summary = RunSummary.from_json((tmp_path / "d" / "report.json").read_bytes())
    assert summary.hostile == HOSTILE
    for each in summary.rounds:
        assert each.defence is not None
        assert (each.defence.rule, each.defence.f, each.defence.judged) == ("default", 2, 8)
        assert sorted(each.defence.excluded) == HOSTILE
        assert len(each.defence.scores) == 8
        assert min(each.defence.scores[name] for name in HOSTILE) > 1
    page = (tmp_path / "d" / "report.html").read_text()
    assert "<h2>Under attack</h2>" in page
    assert "client-8\u00a0★" in page


@pytest.mark.slow
def test_who_lies_about_its_sketch_is_proved_a_liar_in_every_run(tmp_path: Path) -> None:
    told = poisoned(tmp_path / "d", "sketch-lie", "--rounds", "2")

    assert told["excluded"] == {name: [1] for name in HOSTILE}  # and asked no more
    assert {each["reason"] for each in told["exclusions"] if each["client"] in HOSTILE} == {"false-sketch"}
    assert told["void_groups"] == 1
    assert told["false_exclusions"] == 0


LEAST = {"label-flip": 8, "backdoor": 8, "free-zero": 8, "alie": 4, "min-max": 4}
"""Attack -> client-rounds in which attackers are left out, of 12; those that hide among the honest are found later."""


@pytest.mark.slow
@pytest.mark.parametrize("attack", LEAST)
def test_subtler_attackers_are_found_in_most_rounds_and_the_model_is_none_the_worse(
    tmp_path: Path, attack: str
) -> None:
    told = poisoned(tmp_path / "d", attack)

    assert sum(map(len, rounds_without(told))) >= LEAST[attack]
    assert told["false_exclusions"] <= 2
    assert told["accuracy"] > told["plain_accuracy"] - POINTS
    assert told["accuracy"] > told["clean_accuracy"] - 3 * POINTS
    if attack == "backdoor":
        assert told["attack_success"] <= told["plain_attack_success"]
    else:
        assert told["attack_success"] is None


@pytest.mark.slow
def test_updates_that_are_none_are_refused_in_every_round_and_cost_nothing(tmp_path: Path) -> None:
    told = poisoned(tmp_path / "d", "wrong-shape")

    assert rounds_without(told) == [list(range(1, ROUNDS + 1))] * 2
    assert told["false_exclusions"] == 0
    assert abs(told["accuracy"] - told["plain_accuracy"]) <= POINTS  # the same six clients in both
