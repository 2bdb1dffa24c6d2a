"""A version that fails on the server's own data is taken back, and the run goes on from the one before."""

import asyncio
import math
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed import crash
from roughfed.config.conflicts import federation_conflicts
from roughfed.config.edge import edge_conflicts
from roughfed.config.federation import FederationConfig
from roughfed.errors import ConfigError
from roughfed.params import read_flat
from roughfed.server.model.validation import check_data, fault_of
from roughfed.server.round import run as run_module
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Evaluation
from tests.simulation.rig import newest, whole_run


def measured(correct: int, count: int = 1000, classes: int = 2) -> Evaluation:
    """Each class has `count` examples, of which `correct` are right."""
    return Evaluation(bytes(32), classes * count, 1.0, (count,) * classes, (correct,) * classes)


class Judge:
    """A worker that says, each time that it is asked, the next of some shares of 1,000 examples."""

    def __init__(self, *correct: int | None) -> None:
        self.correct, self.judged = list(correct), list[int]()

    async def evaluate(self, params: Path, *, model_digest: bytes) -> Evaluation | None:
        self.judged.append(round(float(read_flat(params)[0]) / 2))  # each round adds 2
        correct = self.correct.pop(0)
        return None if correct is None else Evaluation(model_digest, 1000, 1.0, (1000,), (correct,))

    async def stop(self) -> None:
        """Nothing runs."""


def rounds_of(folder: Path) -> list[RoundRow]:
    store = Store(folder)
    try:
        return store.rounds()
    finally:
        store.close()


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "models").iterdir())


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "PAUSE_S", 0.0)


def test_the_next_round_begins_with_the_version_before(tmp_path: Path) -> None:
    judge = Judge(100, 500, 700, 400, 710)  # the third version is far below the second
    reason, _ = whole_run(tmp_path, worker=judge, rounds=3, defence={"rollback": 0.1})

    assert judge.judged == [
        0,
        1,
        2,
        3,
        3,
    ]  # what it begins with is judged, too; and what is made instead begins where the third one had begun
    assert reason == "rounds"
    version, flat = newest(tmp_path)
    assert version == 3
    np.testing.assert_array_equal(flat, np.full(500, 6.0))
    rows = rounds_of(tmp_path)
    assert [row.outcome for row in rows] == ["committed", "committed", "abandoned", "committed"]
    assert rows[2].reason == "taken-back: accuracy 40.0% after 70.0%"
    assert rows[2].accepted == rows[1].accepted  # its updates were well formed; what they made was not good


def test_a_version_may_fall_by_less_and_by_chance(tmp_path: Path) -> None:
    judge = Judge(100, 700, 601, 700)
    whole_run(tmp_path, worker=judge, rounds=3, defence={"rollback": 0.1})
    assert [row.outcome for row in rounds_of(tmp_path)] == ["committed"] * 3

    small, large = measured(83, 100, 1), measured(830)
    assert fault_of(measured(70, 100, 1), small, small, 0.1)  # 13 points of 100 examples are too many
    assert not fault_of(measured(72, 100, 1), small, small, 0.1)  # 11 are chance: 3 x 3.8 points
    assert fault_of(measured(720), large, large, 0.1)  # but not of 2,000


def test_where_the_base_is_below_the_bar_itself_whatever_is_no_worse_stands() -> None:
    """The setting is new, or the worker failed when the base was made: the model must be able to get better again."""
    base, best = measured(600), measured(900)
    assert not fault_of(measured(600), base, best, 0.1)
    assert not fault_of(measured(650), base, best, 0.1)
    assert fault_of(measured(590), base, best, 0.1) == "accuracy 59.0% after 90.0%"
    assert not fault_of(measured(590), None, best, 0.1)


def test_many_small_steps_down_add_up_to_one_that_is_too_large() -> None:
    """The best one before is the measure, not the last one: slow poison goes no farther than a fast one."""
    accepted = [measured(800)]
    for correct in range(790, 600, -10):
        best = max(accepted, key=lambda each: each.class_correct)
        if not fault_of(measured(correct), accepted[-1], best, 0.055):
            accepted.append(measured(correct))
    assert min(each.class_correct[0] for each in accepted) == 750


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_model_that_says_no_number_never_stands(loss: float) -> None:
    broken = Evaluation(bytes(32), 10, loss, (10,), (9,))
    assert fault_of(broken, None, None, 0.5) == "its loss is no number"


def test_where_there_are_no_classes_the_loss_decides() -> None:
    best = Evaluation(bytes(32), 10, 20.0)
    assert not fault_of(Evaluation(bytes(32), 10, 21.9), best, best, 0.1)
    assert fault_of(Evaluation(bytes(32), 10, 22.1), best, best, 0.1) == "loss 2.21 after 2"


def test_one_that_cannot_be_judged_stands(tmp_path: Path) -> None:
    judge = Judge(5, 10, None, 20, 21)  # what the worker could not say, it is asked again beside the next round
    whole_run(tmp_path, worker=judge, rounds=3, defence={"rollback": 0.1})
    assert [row.outcome for row in rounds_of(tmp_path)] == ["committed"] * 3


def test_a_run_whose_versions_all_fail_is_paused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recover = run_module.recover

    async def until_paused(ctx: Any, row: Any, lost: int) -> None:
        await recover(ctx, row, lost)
        ctx.state.stopping = ctx.state.paused  # an operator who looks, and stops the server

    monkeypatch.setattr(run_module, "recover", until_paused)
    judge = Judge(50, 900, *[100] * run_module.LOST_ROUNDS)
    with pytest.raises(asyncio.CancelledError):
        whole_run(tmp_path, worker=judge, rounds=5, defence={"rollback": 0.1})
    assert newest(tmp_path)[0] == 1
    assert {row.reason for row in rounds_of(tmp_path)[1:]} == {"taken-back: accuracy 10.0% after 90.0%"}


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("rule", ["fedadam", "sgd"])
@pytest.mark.parametrize("at", ["committed", "announced", "taken-back", "summary-journaled"])
def test_a_server_that_dies_before_or_after_the_judgement_takes_it_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, rule: str
) -> None:
    """After the next start: the same version, the same files, the same state of the optimizer."""

    def play(folder: Path, correct: list[int], *, wanted: int) -> None:
        judge = Judge(*correct)
        tables = {"optimize": {"rule": rule}, "codec": {"downlink": "int8"}}
        whole_run(folder, worker=judge, rounds=3, defence={"rollback": 0.1}, tables=tables)
        assert len(judge.judged) == wanted

    play(tmp_path / "undisturbed", [100, 500, 700, 400, 710], wanted=5)

    def die(name: str) -> None:
        if name == at and len(rounds_of(folder)) == 3:
            raise Killed

    folder = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(crash, "point", die)
        with pytest.raises(Killed):
            play(folder, [100, 500, 700, 400, 710], wanted=0)
    play(folder, [400, 710] if at == "committed" else [710], wanted=2 if at == "committed" else 1)
    assert [row.outcome for row in rounds_of(folder)] == ["committed", "committed", "abandoned", "committed"]
    assert files_of(folder) == files_of(tmp_path / "undisturbed")
    for name in files_of(folder):
        assert (folder / "models" / name).read_bytes() == (tmp_path / "undisturbed" / "models" / name).read_bytes()


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"model": {"private": ["*bn*"]}}, "model.private"),
        ({"clusters": {"method": "ifca"}}, "clusters.method"),
        ({"trainer": {"method": "scaffold"}}, "trainer.method"),
    ],
)
def test_what_cannot_be_judged_or_taken_back_is_refused(tables: Mapping[str, Any], key: str) -> None:
    config = FederationConfig(**{"defence": {"rollback": 0.1}, **tables})
    assert any("defence.rollback" in each.cause and key in each.cause for each in federation_conflicts(config))


def test_an_edge_leaves_it_to_the_server_above() -> None:
    config = FederationConfig(defence={"rollback": 0.1})  # pyright: ignore[reportArgumentType]
    assert any("defence.rollback" in each.cause for each in edge_conflicts(config))


class WithoutData:
    async def root_counts(self) -> tuple[int, ...]:
        return (0,)


@pytest.mark.parametrize("worker", [None, WithoutData()])
def test_a_server_without_data_says_so_when_it_starts(worker: Any) -> None:
    asyncio.run(check_data(worker, 0.0))
    with pytest.raises(ConfigError, match="it has none"):
        asyncio.run(check_data(worker, 0.1))


def test_what_was_taken_back_leaves_no_row(tmp_path: Path) -> None:
    whole_run(tmp_path, worker=Judge(50, 900, 100, 900), rounds=2, defence={"rollback": 0.1})
    with sqlite3.connect(tmp_path / "journal.db") as db:
        assert [row[0] for row in db.execute("SELECT version FROM models ORDER BY version")] == [0, 1, 2]
        assert db.execute("SELECT count(*) FROM evaluations WHERE source = ''").fetchone() == (3,)
