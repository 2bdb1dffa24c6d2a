"""What a status says of clients that differ: out of the journal's newest summaries, in a few lines."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from roughfed.deploy.cli import live
from roughfed.deploy.cli.live_unlike import NAMED, lines
from roughfed.server.observe.recent_rounds import KEYS, newest_told
from roughfed.server.storage.store import Store
from tests.unit.deploy.cli.test_cli_control import STATUS
from tests.unit.server.storage.test_store import ROW
from tests.unit.unlike_rounds import summary


def told(**found: Any) -> dict[str, dict[str, Any]]:
    return {key: {"round": 3, "found": each} for key, each in found.items()}


EVERYTHING = told(**{key: summary(2)[key] for key in KEYS})

SAYS = {
    "on their data": [
        "common model 52 %, worst tenth 25 %, best tenth 72 %, std 12.5 % (3 clients)",
        "personal 75 %, worst tenth 62.5 %, best tenth 95 %, std 12.5 % (3 clients)",
        "trained alone 62.5 %, worst tenth 50 %, best tenth 82.5 %, std 12.5 % (3 clients)",
    ],
    "worse than alone": ["33.3 % of the clients"],
    "clusters": ["2, clients in each: 0: 2, 1: 1"],
    "class": ["fast: 2 clients, 4 KiB up each", "slow: 1 clients, 256 B up each, 1 in 16 coordinates, only head.*"],
    "fairness": ["q-fedavg, strength 2, factors 0.5 to 3 (eve)"],
    "contributions": ["gtg-shapley: eve 0.04, bob 0.02, ann 0"],
    "free rider": ["ann: sends nothing, or next to nothing"],
    "model quality": ["50 %: 1 clients, 75 %: 1 clients, 100 %: 1 clients"],
}


def test_every_line() -> None:
    said: dict[str, list[str]] = {}
    for label, words, _ in lines(EVERYTHING):
        said.setdefault(label, []).append(words)
    assert said == SAYS


@pytest.mark.parametrize(
    "found", [None, {}, told(cluster={"clusters": {"0": ["ann"]}}), told(fairness={"rule": "none"})]
)
def test_what_is_not_known_is_not_said(found: dict[str, Any] | None) -> None:
    assert lines(found) == []


def test_long_lists_are_cut_and_say_so() -> None:
    names = [f"c{i:02d}" for i in range(20)]
    many = {
        "method": "cgsv",
        "scores": {name: {"total": float(i)} for i, name in enumerate(names)},
        "free_riders": dict.fromkeys(names, "made up"),
    }
    found = lines(told(contribution=many))
    assert found[0][1].endswith("c14 14, 14 more")
    assert [words for label, words, _ in found if label == "free rider"][-1] == "14 more"
    assert len(found) == 1 + NAMED + 1


def test_names_are_no_markup_on_the_terminal() -> None:
    marked = told(contribution={"scores": {}, "free_riders": {"[red]ann": "zero"}})
    console = Console(width=120)
    with console.capture() as said:
        console.print(live.draw(STATUS | {"unlike": marked}))
    assert "[red]ann: sends nothing" in said.get()


def test_the_newest_round_that_knows_a_key_tells_it(tmp_path: Path) -> None:
    async def run() -> dict[str, dict[str, Any]]:
        with closing(Store(tmp_path)) as store:
            for number, keys in ((1, ("spread", "cluster")), (2, ("cluster",)), (3, ())):
                await store.open_round(replace(ROW, round=number))
                await store.set_summary(number, {key: summary(number)[key] for key in keys} | {"seconds": 1.0})
            return newest_told(store)

    found = asyncio.run(run())
    assert {key: each["round"] for key, each in found.items()} == {"spread": 1, "cluster": 2}
    assert found["cluster"]["found"] == summary(2)["cluster"]


def test_scores_of_the_round_before_stand_until_the_newest_is_scored(tmp_path: Path) -> None:
    async def run() -> dict[str, dict[str, Any]]:
        with closing(Store(tmp_path)) as store:
            for number, found in ((1, summary(2)["contribution"]), (2, {"free_riders": {"eve": "noise"}})):
                await store.open_round(replace(ROW, round=number))
                await store.set_summary(number, {"contribution": found})
            return newest_told(store)

    assert [words for _, words, _ in lines(asyncio.run(run()))] == [
        "gtg-shapley: eve 0.04, bob 0.02, ann 0",
        "eve: sends noise: no angle to anybody but by chance",
        "50 %: 1 clients, 75 %: 1 clients, 100 %: 1 clients",
    ]
