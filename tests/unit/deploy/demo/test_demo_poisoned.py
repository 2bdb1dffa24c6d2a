"""The poisoned demo plays the same clients without an attack, with it, and defended; who attacks, and what it tells."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from roughfed.config import FederationConfig
from roughfed.deploy.attack import ATTACKS
from roughfed.deploy.attack.options import check, parse
from roughfed.deploy.attack.poison.labels import SOURCE, TARGET
from roughfed.deploy.demo import DemoOptions, run_demo
from roughfed.deploy.demo.attack_success import app
from roughfed.deploy.demo.attackers import attackers_of, how_many
from roughfed.deploy.demo.federations import acts_of
from roughfed.deploy.demo.folder import DemoPlace
from roughfed.deploy.demo.outcome import Runs, final_table, result_of
from roughfed.deploy.demo.scenarios import DEFENCE
from roughfed.errors import ConfigError
from roughfed.report.summary import DefenceSummary, RoundSummary, RunSummary

NAMES = [f"client-{number:02d}" for number in range(1, 11)]
HOSTILE = ("client-09", "client-10")


def options(**changes: Any) -> DemoOptions:
    return DemoOptions(scenario="poisoned", **changes)


@pytest.mark.parametrize("server_sees", ["sketches", "updates"])
def test_honest_clients_live_through_three_acts_and_attackers_are_new_in_each(server_sees: Any) -> None:
    """Behind masks everybody is: clients open no two sums on one model that differ by a few."""
    clean, plain, last = acts_of(options(server_sees=server_sees, attack="sign-flip"))
    apart = server_sees == "sketches"

    assert [act.name for act in (clean, plain, last)] == ["clean", "plain", "last"]
    assert [act.hostile for act in (clean, plain, last)] == [(), HOSTILE, HOSTILE]
    assert [tuple(act.starts) for act in (clean, plain, last)] == [
        tuple(NAMES),
        *[tuple(NAMES) if apart else HOSTILE] * 2,
    ]
    assert all(act.apart == apart for act in (clean, plain, last))
    assert f'\nrule = "{DEFENCE}"\n' in last.fed
    assert "\nf = 0.2\n" in last.fed
    for act in (clean, plain):
        assert '\nrule = "none"\n' in act.fed
        assert act.fed.count("\nseed = 0\n") == last.fed.count("\nseed = 0\n") > 0
        assert act.clients == last.clients
    stays = {name for name, text in last.clients.items() if "\nstay = 10\n" in text}
    assert stays == (set() if apart else set(NAMES) - set(HOSTILE))
    assert all("\nquorum = 8\n" in act.fed for act in (clean, plain, last))
    assert all("\npatience = 0.0\n" in act.fed for act in (clean, plain, last))


def test_sums_show_nobody_and_so_there_is_no_defended_act() -> None:
    clean, last = acts_of(options(server_sees="sums"))

    assert (clean.name, last.name, last.hostile) == ("clean", "last", HOSTILE)
    assert "nobody can be judged" in last.shown
    assert f'\nrule = "{DEFENCE}"\n' not in last.fed


def test_who_lies_is_out_for_good_and_so_each_act_has_clients_of_its_own() -> None:
    acts = acts_of(options(attack="sketch-lie"))

    assert all(act.apart and tuple(act.starts) == tuple(NAMES) for act in acts)
    assert all("\nmin_clients = 8\n" in act.fed for act in acts)
    assert not any("\nstay = 10\n" in text for act in acts for text in act.clients.values())
    assert not any(act.apart for act in acts_of(options(server_sees="updates")))


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name != "none"])
def test_the_flags_are_those_that_the_attack_takes(attack: str, tmp_path: Path) -> None:
    found = attackers_of(attack, 2, NAMES, "sketches")
    place = ["--colluders", str(tmp_path / "meet")] if found.meet else []

    check(parse([*found.flags, "--dir", str(tmp_path), *place]), ATTACKS[attack])
    assert found.names == HOSTILE


@pytest.mark.parametrize(
    ("share", "clients", "f"), [(0.2, 10, "0.2"), (0.05, 10, "1"), (0.2, 5, "0.2"), (0.1, 5, "1"), (0.3, 10, "0.3")]
)
def test_the_defence_expects_whoever_attacks(share: float, clients: int, f: str) -> None:
    """A share that is less than one client is an attacker all the same, and would be none to the defence."""
    last = acts_of(options(attackers=share, clients=clients))[-1]

    assert f"\nf = {f}\n" in last.fed


@pytest.mark.parametrize(("share", "clients", "count"), [(0.2, 10, 2), (0.29, 100, 29), (0.01, 10, 1), (0.49, 10, 4)])
def test_a_share_of_the_clients_attacks(share: float, clients: int, count: int) -> None:
    assert how_many(share, clients) == count


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"attack": "sing-flip"}, "--attack", "did you mean 'sign-flip'"),
        ({"attack": "none"}, "--attack", "choose one of|did you mean"),
        ({"attackers": 0.5}, "--attackers", "no rule holds against half"),
        ({"attackers": 0.0}, "--attackers", "above 0"),
        ({"attackers": 0.1, "attack": "alie"}, "--attackers", "give --attackers 0.2"),
        ({"clients": 4, "attackers": 0.3, "attack": "alie"}, "--attackers", "more --clients"),
        ({"clients": 2, "server_sees": "updates"}, "--clients", "give 3 or more"),
        ({"clients": 4}, "--clients", "give 5 or more"),  # three are no sum
        ({"clients": 5, "attackers": 0.4}, "--clients", "give 6 or more"),
        ({"attack": "sketch-lie", "server_sees": "updates"}, "--attack", "another attack"),
        ({"attack": "bad-deal", "server_sees": "sums"}, "--attack", "another attack"),
        ({"scenario": "rough", "attack": "alie"}, "--attack", "--scenario poisoned"),
        ({"scenario": "clean", "attackers": 0.2}, "--attackers", "--scenario poisoned"),
    ],
)
def test_attacks_that_cannot_be_are_refused_before_anything_is_made(
    tmp_path: Path, changes: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        run_demo(DemoOptions(**{"scenario": "poisoned", "out": tmp_path / "out"} | changes))

    assert refused.value.key == key
    assert re.search(words, refused.value.cure)
    assert not (tmp_path / "out").exists()


def a_run(accuracy: float, *excluded: tuple[str, str], **changes: Any) -> RunSummary:
    found = DefenceSummary(DEFENCE, 2, 10, {}, {})
    rounds = [
        RoundSummary(n, n, accuracy=accuracy, balanced_accuracy=accuracy, participants=NAMES, defence=found)
        for n in (1, 2)
    ]
    rounds[0].excluded.extend(excluded)
    success = changes.pop("attack_success", None)
    last = RoundSummary(3, 3, accuracy=accuracy, participants=NAMES, attack_success=success, defence=found)
    return RunSummary("r", "poisoned", "sketches", 10, 10, 40, rounds=[*rounds, last], **changes)


def told(**changes: Any) -> tuple[dict[str, Any], str]:
    """The JSON, and what the table says."""
    attacked: dict[str, Any] = {"attack": "backdoor", "hostile": list(HOSTILE)} | changes
    out = [("client-09", DEFENCE), ("client-01", DEFENCE), ("client-02", "void")]
    runs = Runs(
        a_run(0.9, *out, attack_success=0.03, **attacked),
        a_run(0.4, attack_success=0.97, **attacked),
        a_run(0.95, attack_success=0.01),
    )
    result = result_of(runs, DemoPlace(Path("/tmp/here")))
    Console(file=(written := StringIO()), width=100).print(final_table(result))
    return json.loads(json.dumps(result.data())), " ".join(written.getvalue().split())


def test_the_result_names_who_was_left_out_and_what_it_was_worth() -> None:
    result, words = told()

    assert (result["attack"], tuple(result["attackers"])) == ("backdoor", HOSTILE)
    assert result["excluded"] == {"client-01": [1], "client-09": [1]}
    assert result["false_exclusions"] == 1
    assert (result["accuracy"], result["plain_accuracy"], result["clean_accuracy"]) == (0.9, 0.4, 0.95)
    assert [result[f"{run}attack_success"] for run in ("", "plain_", "clean_")] == [0.03, 0.97, 0.01]
    assert "left out: client-09 1x, client-10 0x, of 3 rounds" in words
    assert "accuracy 90 % no attack 95 %, no defence 40 %" in words
    assert "attackers' goal 3 % no attack 1 %, no defence 97 %" in words
    assert "plain FedAvg" not in words


def test_of_sums_the_table_says_that_nobody_can_be_judged() -> None:
    run = a_run(0.5, hostile=list(HOSTILE), attack="sign-flip")
    blind = [RoundSummary(1, 1, accuracy=0.5, participants=NAMES)]
    blind_run = RunSummary("r", "poisoned", "sums", 10, 10, 40, rounds=blind, attack=run.attack, hostile=run.hostile)
    result = result_of(Runs(blind_run, None, a_run(0.9)), DemoPlace(Path("/tmp/here")))
    Console(file=(written := StringIO()), width=100).print(final_table(result))

    assert "of sums nobody can be judged alone" in " ".join(written.getvalue().split())
    assert (result.plain_accuracy, result.clean_accuracy, result.false_exclusions) == (None, 0.9, 0)


@pytest.mark.parametrize("goal", ["trigger", "part", "target", "edge"])
def test_the_goal_is_looked_for_on_the_examples_that_it_is_about(goal: Any) -> None:
    settings = {"data": {"name": "digits", "data_dir": "", "seed": 0}, "model": {"name": "mlp"}}
    plain: Any = app(json.dumps(settings), "target").test
    x, y = app(json.dumps(settings), goal).test  # pyright: ignore[reportGeneralTypeIssues]

    assert (np.asarray(y) == TARGET).all()
    if goal in ("target", "edge"):
        assert 0 < len(x) < 60  # one class of ten, of 359
    else:
        assert len(x) > 300
        assert (x[:, 0, -2:, -2:] == x.max()).all()
    assert len(plain[0]) < 60
    assert SOURCE != TARGET


def test_a_sum_of_few_still_hides_them() -> None:
    for act in acts_of(options(clients=4, attackers=0.25, server_sees="sums")):
        assert "\nquorum = 4\n" in act.fed
    assert "\nquorum = 3\n" in acts_of(options(clients=4, attackers=0.25, server_sees="updates"))[0].fed


def test_a_settings_file_of_the_demo_is_a_settings_file(tmp_path: Path) -> None:
    from roughfed.deploy import aggregator

    for act in acts_of(options(attackers=0.3)):
        folder = tmp_path / act.name
        folder.mkdir()
        (folder / FederationConfig.FILE).write_text(act.fed)
        config = aggregator.load(folder, {})
        assert config.round.quorum == 7
        assert config.defence.f == (0.3 if act.name == "last" else 0.2)


def test_each_attacker_of_a_distributed_backdoor_paints_its_own_part() -> None:
    attackers = attackers_of("dba", 5, NAMES, "sketches")
    assert [attackers.flags_of(name)[-2:] for name in attackers.names] == [("--part", k) for k in "12341"]
    assert "--part" not in attackers_of("backdoor", 2, NAMES, "sketches").flags_of(NAMES[-1])
