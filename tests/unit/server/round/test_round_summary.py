"""The figures of a round: what clients say of their training, and what is left after a crash."""

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from roughfed.server.round.summary import training_figures
from roughfed.server.storage.store import Store
from roughfed.types import UpdateStatement
from tests.simulation.rig import SPEC, scene, whole_run

STATEMENT = UpdateStatement("run-1", 1, "alpha", bytes(32), bytes(32), 8, num_examples=10)


def said(examples: int, seconds: float = 1.0, **metrics: float) -> UpdateStatement:
    return replace(STATEMENT, num_examples=examples, train_seconds=seconds, metrics=metrics)


def test_metrics_are_means_over_the_examples_and_seconds_over_the_clients() -> None:
    found = training_figures([said(30, 2.0, loss=1.0), said(10, 4.0, loss=3.0)])
    assert found == {"train_seconds": 3.0, "train_metrics": {"loss": 1.5}}


def test_a_claim_of_many_examples_counts_for_three_clients_at_most() -> None:
    honest = [said(10, loss=1.0), said(10, loss=1.0)]
    found = training_figures([*honest, said(10**12, loss=1e6)])["train_metrics"]
    assert found == {"loss": pytest.approx((2 * 10 * 1.0 + 30 * 1e6) / 50)}


def test_a_name_that_few_clients_report_is_left_out() -> None:
    odd = said(10, loss=1.0, **{f"spam-{i}": 1.0 for i in range(50)})
    assert training_figures([odd, said(10, loss=1.0)])["train_metrics"] == {"loss": 1.0}
    assert training_figures([said(10, loss=2.0), said(10, loss=2.0), said(10)])["train_metrics"] == {"loss": 2.0}


def test_no_update_no_figures() -> None:
    assert training_figures([]) == {}


@pytest.mark.parametrize("behave", [{}, {"beta": "fails", "gamma": "fails"}], ids=["committed", "abandoned"])
def test_a_summary_that_a_crash_left_out_is_written_at_the_next_start(tmp_path: Path, behave: dict[str, str]) -> None:
    row, _ = scene(tmp_path, behave)
    store = Store(tmp_path)
    with closing(store):

        async def forget() -> None:
            await store.journal.write(lambda db: db.execute("UPDATE rounds SET summary = NULL"))

        asyncio.run(forget())

    whole_run(tmp_path, rounds=1)  # goes on, or has nothing left to do

    store = Store(tmp_path)
    with closing(store):
        last = store.rounds()[0]
        assert last.outcome == row.outcome
        assert last.summary is not None
        assert last.closed_at is not None
        assert last.summary["seconds"] == last.closed_at - last.opened_at
        assert last.summary["upload_bytes"] == SPEC.size_bytes * len(store.receipts("run-1", 1))
