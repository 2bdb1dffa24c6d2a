"""The demo of clients that differ: one federation, what is read out of its rounds, and the tables at its end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from roughfed.config.values import ServerSees
from roughfed.deploy import aggregator
from roughfed.deploy.demo.federations import acts_of
from roughfed.deploy.demo.heterogeneity import clients_table, differences, models_table
from roughfed.deploy.demo.options import DemoOptions
from roughfed.report.heterogeneity.parts import heterogeneity_of
from roughfed.report.summary import RoundSummary, RunSummary
from tests.unit.heterogeneous_rounds import NAMES, summary

MODES: list[ServerSees] = ["updates", "sketches", "sums"]


def a_round(number: int, told: dict[str, Any], **changes: Any) -> RoundSummary:
    return replace(RoundSummary(number, number, heterogeneity=heterogeneity_of(told)), **changes)


def a_run(*rounds: RoundSummary) -> RunSummary:
    return RunSummary("r", "heterogeneous", "updates", len(NAMES), 10, 40, rounds=list(rounds))


def printed(table: object) -> list[str]:
    console = Console(width=140)
    with console.capture() as said:
        console.print(table)
    return [" ".join(line.split()) for line in said.get().splitlines()]


@pytest.mark.parametrize("mode", MODES)
def test_it_is_one_federation_that_a_server_accepts(tmp_path: Path, mode: ServerSees) -> None:
    (act,) = acts_of(DemoOptions(scenario="heterogeneous", server_sees=mode))
    (tmp_path / "fed.toml").write_text(act.fed)
    config = aggregator.load(tmp_path, {})

    assert len(act.clients) == 10
    assert act.hostile == ("client-10",)
    assert (config.trainer.compare_alone, config.fairness.rule) == (True, "q-fedavg")
    assert config.contribution.method == "auto"


def test_what_is_known_is_read_from_the_last_round_that_knew_it() -> None:
    known = dict(zip(NAMES, (0.5, 0.625, 0.75), strict=True))
    found = differences(a_run(*(a_round(n, summary(n)) for n in (1, 2, 3)), a_round(4, {}, client_personal=known)))
    assert found is not None
    assert (found.spread["personal"].mean, found.worse_than_alone) == (0.75, 1 / 3)
    assert (found.method, found.scores) == ("gtg-shapley", {"ann": 0.0, "bob": 0.03, "eve": 0.06})
    assert (found.free_riders, found.flagged) == ({"ann": "zero"}, {"ann": [2, 3]})
    assert found.by_client == {"personal": known}
    assert json.loads(json.dumps(found.data()))["spread"]["alone"]["mean"] == 0.625


def test_a_common_model_alone_is_nothing_to_compare() -> None:
    assert differences(a_run()) is None
    assert differences(a_run(a_round(1, {"spread": {"global": summary(1)["spread"]["global"]}}))) is None


def test_a_server_that_found_no_free_rider_has_nothing_to_tell() -> None:
    looked = {"contribution": {"method": "", "evaluations": 0, "scores": {}, "free_riders": {}}}
    assert heterogeneity_of(looked).contribution is not None
    assert differences(a_run(a_round(1, looked))) is None


def test_the_tables() -> None:
    found = differences(a_run(a_round(2, summary(2), client_personal={"bob": 0.625})))
    assert found is not None
    assert printed(models_table(found)) == [
        "on the clients' own data worst tenth mean best tenth",
        "common model 25 % 52 % 72 %",
        "personal model 62.5 % 75 % 95 %",
        "trained alone 50 % 62.5 % 82.5 %",
    ]
    assert printed(clients_table(found)) == [
        "client personal model score (gtg-shapley) is given",
        "ann – 0.000 50 % free rider in 1 round: sends nothing, or next to nothing",
        "bob 62.5 % 0.020 75 %",
        "eve – 0.040 100 %",
    ]


def test_a_run_that_scored_nobody_still_names_its_free_riders() -> None:
    told = {"contribution": {"scores": {}, "free_riders": {"[red]eve": "own-old"}}}
    found = differences(a_run(a_round(1, told), a_round(2, told)))
    assert found is not None
    (line,) = printed(clients_table(found))[1:]
    assert line == "[red]eve – free rider in 2 rounds: sends its own earlier update again"
