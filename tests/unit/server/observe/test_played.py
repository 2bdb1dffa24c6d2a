"""The rounds that the page asks for are those of the report, made once, and made again when there is more to say."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from roughfed.config.federation import FederationConfig, Privacy
from roughfed.server.observe import round_history as module
from roughfed.server.observe.round_history import AT_ONCE, NAMED, Played
from roughfed.server.observe.run_summary import run_summary
from roughfed.server.storage.store import Store
from tests.e2e.canned import fill

CONFIG = FederationConfig(privacy=Privacy(server_sees="updates"))
CLIENTS = 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path, clients=CLIENTS, rounds=5)
    return tmp_path


@pytest.fixture
def played(folder: Path) -> Iterator[Played]:
    with closing(Played(folder, CONFIG)) as made:
        yield made


def after(played: Played, number: int) -> dict[str, Any]:
    return json.loads(played.after(number))


def write(folder: Path, sql: str, *values: object) -> None:
    """As the server does, through a connection of its own."""

    async def work(store: Store) -> None:
        await store.journal.write(lambda db: db.execute(sql, values))

    with closing(Store(folder)) as store:
        asyncio.run(work(store))


def test_they_say_what_the_report_says(folder: Path, played: Played) -> None:
    found = after(played, 0)
    with closing(Store(folder)) as store:
        report = run_summary(store, CONFIG)
    assert report is not None
    wanted = json.loads(report.to_json())
    assert (found["newest"], found["more"]) == (5, False)
    for key in ("run", "server_sees", "parameters", "class_prior", "model_digest", "started_at", "untrained"):
        assert found[key] == wanted[key], key
    assert len(found["rounds"]) == len(wanted["rounds"]) == 5
    for mine, theirs in zip(found["rounds"][:-1], wanted["rounds"], strict=False):
        shared = mine.keys() & theirs.keys() - {"heterogeneity"}
        assert shared >= {"round", "accuracy", "tail_accuracy", "phase_seconds", "participants", "excluded", "loss"}
        assert {key: mine[key] for key in shared} == {key: theirs[key] for key in shared}
    last = found["rounds"][-1]
    assert {key: last[key] for key in wanted["rounds"][-1]} == wanted["rounds"][-1]  # the newest is whole


def test_only_the_newest_is_heavy(played: Played) -> None:
    *earlier, last = after(played, 0)["rounds"]
    assert "confusion" in last
    assert last["heterogeneity"]["spread"]["models"]
    for each in earlier:
        assert not {"confusion", "calibration", "client_accuracy", "groups"} & each.keys()
        assert each["heterogeneity"]["spread"]["models"]["global"]["mean"] > 0


def test_counts_and_reasons_stand_beside_the_names(played: Played) -> None:
    for each in after(played, 0)["rounds"]:
        assert each["counts"] == {key: len(each[key]) for key in ("participants", "accepted", "excluded", "dropped")}
        assert sum(each["reasons"].values()) == each["counts"]["excluded"]
        assert each["codec"] == "int8"
        assert each["closed_at"] > each["opened_at"]


def test_who_knows_some_gets_the_rest(played: Played) -> None:
    assert [r["round"] for r in after(played, 3)["rounds"]] == [4, 5]
    assert after(played, 5)["rounds"] == []
    assert json.loads(played.after(5, {"transfer": [1]}))["transfer"] == [1]


def test_a_round_is_made_once_and_again_when_there_is_more_to_say(
    folder: Path, played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = module._told

    def told(store: Store, run: Any, rows: list[Any]) -> Any:
        made.extend(row.round for row in rows)
        return real(store, run, rows)

    monkeypatch.setattr(module, "_told", told)
    before = after(played, 0)["rounds"]
    assert made == [1, 2, 3, 4, 5, 5]  # the newest whole, and light for when it is not the newest any more
    made.clear()
    after(played, 0)
    assert made == [5]
    made.clear()
    with sqlite3.connect(folder / "journal.db") as db:
        (row,) = db.execute("SELECT evaluation FROM evaluations WHERE version = 2 AND source = ''").fetchone()
    write(folder, "INSERT INTO evaluations (version, source, evaluation) VALUES (2, 'ann', ?)", row)
    found = after(played, 0)["rounds"]
    assert made == [2, 5]
    assert found == before  # the server's own data come first
    made.clear()
    summary = json.dumps({"seconds": 1234.5, "contribution": {"method": "shapley", "skipped": "too few"}})
    write(folder, "UPDATE rounds SET summary = ? WHERE round = 3", summary)
    (third,) = [r for r in after(played, 0)["rounds"] if r["round"] == 3]
    assert made == [3, 5]
    assert third["seconds"] == 1234.5
    assert third["heterogeneity"]["contribution"] == {"method": "shapley", "skipped": "too few"}


def test_an_open_round_is_not_told(folder: Path, played: Played) -> None:
    write(folder, "UPDATE rounds SET outcome = NULL WHERE round = 5")
    assert [r["round"] for r in after(played, 0)["rounds"]] == [1, 2, 3, 4]


def test_many_rounds_come_in_parts_and_old_ones_without_names(tmp_path: Path) -> None:
    rounds = AT_ONCE + 50
    fill(tmp_path, clients=5, rounds=rounds)
    with closing(Played(tmp_path, CONFIG)) as played:
        first = after(played, 0)
        assert (len(first["rounds"]), first["more"], first["newest"]) == (AT_ONCE, True, rounds)
        rest = after(played, AT_ONCE)
        assert (len(rest["rounds"]), rest["more"]) == (50, False)
    both = [*first["rounds"], *rest["rounds"]]
    assert [r["round"] for r in both] == list(range(1, rounds + 1))
    assert [r["round"] for r in both if "participants" in r] == list(range(rounds - NAMED + 1, rounds + 1))
    assert all(sum(r["counts"].values()) > 0 for r in both)


def test_names_are_kept_of_the_newest_rounds_alone(tmp_path: Path) -> None:
    """Of a run with 200 clients they are most of a round, and a run may have thousands."""
    rounds = NAMED + 20
    fill(tmp_path, clients=5, rounds=rounds)
    write(tmp_path, "UPDATE rounds SET outcome = NULL WHERE round > ?", rounds - 10)
    with closing(Played(tmp_path, CONFIG)) as played:
        for newest in (rounds - 10, rounds):
            write(tmp_path, "UPDATE rounds SET outcome = 'abandoned' WHERE outcome IS NULL AND round <= ?", newest)
            after(played, 0)
            named = [number for number, kept in played._kept.items() if kept.named]
            assert named == list(range(newest - NAMED + 1, newest + 1))
        write(tmp_path, "UPDATE rounds SET outcome = NULL WHERE round > 3")
        after(played, 0)
        assert sorted(played._kept) == [1, 2, 3]


def test_before_the_first_start_there_is_nothing(tmp_path: Path) -> None:
    with closing(Played(tmp_path, CONFIG)) as played:
        assert after(played, 0) == {"newest": 0, "more": False, "rounds": []}
    assert after(played, 0)["rounds"] == []  # and after its end


def test_it_is_quick_with_200_clients_and_300_rounds_and_threads_may_ask_at_once(tmp_path: Path) -> None:
    fill(tmp_path, clients=200, rounds=300)
    with closing(Played(tmp_path, CONFIG)) as played, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(played.after, [0] * 4))
        assert len(set(answers)) == 1
        assert len(answers[0]) < 2_000_000
        began = time.process_time()
        played.after(280)
        assert time.process_time() - began < 0.5  # a page asks so at every round
