"""Between an edge's halves: an order is open until it is answered or withdrawn, and answered once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roughfed.client.local.trainer_process import LocalTrainer
from roughfed.deploy.edge.upstream_bridge import DEVICE, Middle
from roughfed.errors import IdentityError, RoundError, TrainerError
from roughfed.params import write_model
from roughfed.server.extensions.edge.extension import Nothing
from roughfed.server.extensions.edge.upstream import Above, Carried, Order
from roughfed.trainer_client import Description
from roughfed.training import TURN, BaseFile, FitResult, Turn
from roughfed.types import Spec, TensorSpec

SPEC = Spec((TensorSpec("w", (4,)),))
TURN_3 = Turn(3, rounds=5, run="above", facts={"class-prior": (0.25, 0.75)}, seconds_left=40.0)
OWN = Description(SPEC, "classification", 100, 20, 2, "cuda", "net", {"optimizer": "sgd"}, (60, 40), ("transition",))


class Halves:
    """The seam, and what the client's half was given for its trainings."""

    def __init__(self, folder: Path) -> None:
        self.middle, self.folder, self.changes = Middle(lambda: OWN), folder, 0
        self.middle.on_change, self.news = self.changed, asyncio.Event()
        self.params = folder / "model.safetensors"
        self.digest = write_model(self.params, SPEC, [np.arange(4, dtype=np.float32)])

    def changed(self) -> None:
        self.changes += 1
        self.news.set()

    def carried(self, values: bytes = b"sixteen bytes..!") -> Carried:
        (path := self.folder / "sum.f32").write_bytes(values)
        return Carried(path, weight=7, clients=3, num_steps=11, metrics={"loss": 0.5}, seconds=2.5)

    async def fit(self, turn: Turn = TURN_3) -> FitResult:
        return await self.middle.fit(self.params, self.folder / "delta.f32", settings={"lr": 0.1}, seed=1, turn=turn)

    async def ordered(self, turn: Turn = TURN_3) -> tuple[asyncio.Task[FitResult], Order]:
        """A training that has begun, and the order that it is for the server's half."""
        fit = asyncio.create_task(self.fit(turn))
        self.news.clear()
        await self.news.wait()
        order = self.middle.wanted()
        assert order is not None
        return fit, order


def halves(work: Callable[[Halves], Awaitable[None]], folder: Path) -> None:
    async def run() -> None:
        await work(Halves(folder))

    asyncio.run(run())


def test_it_is_what_either_half_takes_it_for() -> None:
    trainer: LocalTrainer = Middle(lambda: OWN)
    above: Above = Middle(lambda: OWN)
    assert (trainer.on_progress, above.wanted(), above.over()) == (None, None, None)


def test_the_federation_above_hears_of_the_model_and_of_nobodys_data() -> None:
    said = asyncio.run(Middle(lambda: OWN).describe())
    assert (said.spec, said.task, said.num_classes, said.device) == (SPEC, "classification", 2, DEVICE)
    assert (said.num_train, said.num_test, said.class_counts, said.statistics, said.settings) == (1, 0, (), (), {})


def test_a_training_is_an_order_and_the_answer_is_its_result(tmp_path: Path) -> None:
    async def work(both: Halves) -> None:
        before = time.monotonic()
        fit, order = await both.ordered()
        assert both.changes == 1
        assert (order.run, order.round, order.place, order.planned) == ("above", 3, 3, 5)
        assert (order.params, order.digest, order.settings) == (both.params, both.digest, {"lr": 0.1})
        assert order.facts == TURN_3.facts
        assert before + 40 <= order.until <= time.monotonic() + 40
        assert both.middle.state() == {"run": "above", "round": 3, "rounds": 5, "open": True}
        both.middle.answer(order, both.carried())
        result = await fit
        assert (result.num_examples, result.num_steps, result.metrics, result.seconds) == (7, 11, {"loss": 0.5}, 2.5)
        assert (tmp_path / "delta.f32").read_bytes() == b"sixteen bytes..!"
        assert both.middle.state() == {"run": "above", "round": 3, "rounds": 5, "open": False}

    halves(work, tmp_path)


def test_schedules_go_by_the_top_through_any_number_of_levels(tmp_path: Path) -> None:
    async def work(both: Halves) -> None:
        fit, order = await both.ordered(replace(TURN_3, round=30, rounds=90, facts={TURN: (3.0,), "rounds": (5.0,)}))
        assert (order.round, order.place, order.planned) == (30, 3, 5)
        assert order.turn == {TURN: (3.0,), "rounds": (5.0,)}
        fit.cancel()
        with suppress(asyncio.CancelledError):
            await fit

    halves(work, tmp_path)


def test_an_order_is_gone_with_its_answer_before_anybody_else_runs(tmp_path: Path) -> None:
    """The server's half looks again at once; were it still there, it would be played for ever."""

    async def work(both: Halves) -> None:
        fit, order = await both.ordered()
        both.middle.answer(order, Nothing("no sum"))
        assert both.middle.wanted() is None
        both.middle.answer(order, both.carried())  # a second word counts for nothing
        with pytest.raises(TrainerError, match="no sum") as told:
            await fit
        assert told.value.reason == Nothing.reason

    halves(work, tmp_path)


def test_a_training_that_is_cancelled_withdraws_its_order_and_says_so(tmp_path: Path) -> None:
    async def work(both: Halves) -> None:
        fit, order = await both.ordered()
        fit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fit
        assert (both.middle.wanted(), both.changes) == (None, 2)
        both.middle.answer(order, both.carried())  # too late, and no harm
        again, second = await both.ordered()
        assert second != order
        assert (second.run, second.round, second.digest) == (order.run, order.round, order.digest)
        both.middle.answer(order, Nothing("of the first"))
        assert both.middle.wanted() is second
        both.middle.answer(second, both.carried())
        assert (await again).num_examples == 7

    halves(work, tmp_path)


def test_an_answer_in_the_moment_of_the_withdrawal_is_no_fault(tmp_path: Path) -> None:
    """Cancelled, and not run since: the order still looks open."""

    async def work(both: Halves) -> None:
        fit, order = await both.ordered()
        fit.cancel()
        both.middle.answer(order, both.carried())
        assert both.middle.wanted() is None
        with pytest.raises(asyncio.CancelledError):
            await fit

    halves(work, tmp_path)


@pytest.mark.parametrize(
    ("turn", "what"),
    [
        (replace(TURN_3, tensors=("head.*",)), "trains a part of the model"),
        (replace(TURN_3, base=BaseFile(Path("base"))), r"frozen base \(model.frozen or model.adapters\)"),
    ],
)
def test_what_no_edge_can_do_is_no_order(tmp_path: Path, turn: Turn, what: str) -> None:
    async def work(both: Halves) -> None:
        with pytest.raises(TrainerError, match=what) as told:
            await both.fit(turn)
        assert (told.value.reason, both.middle.wanted(), both.changes) == ("edge", None, 0)

    halves(work, tmp_path)


def test_an_edge_has_no_data_to_choose_or_evaluate_by(tmp_path: Path) -> None:
    async def work(both: Halves) -> None:
        with pytest.raises(TrainerError, match="which cluster fits cannot be told"):
            await both.middle.train_loss(both.params, turn=TURN_3)
        found = await both.middle.evaluate(both.params, model_digest=both.digest, turn=TURN_3)
        assert (found.model_digest, found.num_examples) == (both.digest, 0)
        assert await both.middle.compare(both.params, model_digest=both.digest, settings={}, turn=TURN_3) == {}

    halves(work, tmp_path)


def test_why_no_order_will_come_any_more(tmp_path: Path) -> None:
    async def work(both: Halves) -> None:
        both.middle.ended("finished")
        assert (both.middle.over(), both.changes) == ("finished", 1)

    halves(work, tmp_path)


@pytest.mark.parametrize("error", [IdentityError("revoked", reason="revoked"), ZeroDivisionError("a bug")])
def test_a_clients_half_that_fails_takes_the_servers_half_with_it(tmp_path: Path, error: Exception) -> None:
    async def work(both: Halves) -> None:
        both.middle.ended(error)
        with pytest.raises(type(error)) as told:
            both.middle.over()
        assert told.value is error

    halves(work, tmp_path)


def test_the_servers_error_keeps_its_reason(tmp_path: Path) -> None:
    async def work(both: Halves) -> None:
        fit, order = await both.ordered()
        error = RoundError("too few")
        both.middle.answer(order, error)
        with pytest.raises(TrainerError, match="too few") as told:
            await fit
        assert told.value.reason == error.reason

    halves(work, tmp_path)
