"""Between the two halves of an edge: what the client's half is asked to train becomes an order of the server's half."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from roughfed.errors import RoundError, TrainerError
from roughfed.messages import Welcome
from roughfed.params import data_offset, digest_file
from roughfed.server.extensions.edge.upstream import Carried, Order
from roughfed.trainer_client import Description
from roughfed.training import FitResult, Turn
from roughfed.types import Evaluation

DEVICE = "edge"
"""What stands for the device in the list of the federation above."""

NO_OWN = "an edge has no data of its own; only its clients have"


class Middle:
    """A `LocalTrainer` for the agent of the federation above, and an `Above` for the server here."""

    def __init__(self, describe: Callable[[], Description]) -> None:
        """`describe`: of the model, asked once the server here knows it."""
        self.on_progress: Callable[[float], None] | None = None
        self.on_change: Callable[[], None] = lambda: None
        self._describe = describe
        self._order: Order | None = None
        self._answer: asyncio.Future[Carried | RoundError] | None = None
        self._over: str | BaseException | None = None
        self._last: tuple[str, int, int] = ("", 0, 0)
        self._met = False

    # -- the trainer of the client's half ------------------------------------------------------------------------------

    async def describe(self) -> Description:
        """The model of the server here; of its clients' data nothing is said."""
        own = self._describe()
        return dataclasses.replace(
            own, num_train=1, num_test=0, device=DEVICE, settings={}, class_counts=(), statistics=()
        )

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn
    ) -> FitResult:
        """Have a round played from a model file, and write its mean update.

        Raises:
            TrainerError: the round brought no sum, or is for a part of the model that only a single client can train.
        """
        del seed  # the server here has one of its own for each of its clients
        check(turn)
        order = Order(
            run=turn.run,
            round=turn.round,
            place=turn.place,
            planned=turn.planned,
            params=params,
            digest=await asyncio.to_thread(_digest, params),
            settings=settings,
            facts=turn.facts,
            until=time.monotonic() + turn.seconds_left,
        )
        found = await self._ask(order)
        if isinstance(found, RoundError):
            raise TrainerError(str(found), reason=found.reason)
        await asyncio.to_thread(shutil.copyfile, found.delta, delta)
        return FitResult(
            found.weight,
            found.num_steps,
            found.metrics,
            found.seconds,
            class_counts=found.class_counts,
            evaluation=found.evaluation,
        )

    async def _ask(self, order: Order) -> Carried | RoundError:
        answer: asyncio.Future[Carried | RoundError] = asyncio.get_running_loop().create_future()
        self._order, self._answer = order, answer
        self._last = (order.run, order.round, order.planned)
        self.on_change()
        try:
            return await answer
        finally:
            if self._order is order:
                self._order = self._answer = None
                self.on_change()

    async def evaluate(self, params: Path, *, model_digest: bytes, turn: Turn) -> Evaluation:
        """Nothing: there is nothing to evaluate on."""
        del params, turn
        return Evaluation(model_digest, 0, 0.0)

    async def compare(
        self, params: Path, *, model_digest: bytes, settings: Mapping[str, object], turn: Turn
    ) -> Mapping[str, Evaluation]:
        """No models of its own."""
        del params, model_digest, settings, turn
        return {}

    async def train_loss(self, params: Path, *, turn: Turn) -> float:
        """Refused.

        Raises:
            TrainerError: clusters choose by losses, and an edge has no data.
        """
        del params, turn
        raise TrainerError(f"which cluster fits cannot be told: {NO_OWN}", reason="edge")

    async def stop(self) -> None:
        """The server here ends by itself."""

    # -- the federation above, for the server's half ------------------------------------------------------------------

    def wanted(self) -> Order | None:
        """As of `Above.wanted`."""
        return self._order

    def over(self) -> str | None:
        """As of `Above.over`."""
        if isinstance(self._over, BaseException):
            raise self._over
        return self._over

    def met(self) -> bool:
        """As of `Above.met`."""
        return self._met

    def answer(self, order: Order, given: Carried | RoundError) -> None:
        """As of `Above.answer`."""
        if self._order is not order or self._answer is None:
            return  # it was withdrawn, and perhaps another one is open
        if not self._answer.done():  # done: withdrawn in this moment
            self._answer.set_result(given)
        self._order = self._answer = None  # at once: `fit` hears of it later, and nobody is to play it again

    def state(self) -> Mapping[str, object]:
        """The order that is open, or the last one; the run is "" before the first."""
        run, number, rounds = self._last
        return {"run": run, "round": number, "rounds": rounds, "open": self._order is not None}

    def welcomed(self, welcome: Welcome) -> None:
        """The client's half is connected."""
        del welcome
        self._met = True
        self.on_change()

    def ended(self, how: str | BaseException) -> None:
        """The client's half has ended: why, or by what error."""
        self._over = how
        self.on_change()


def check(turn: Turn) -> None:
    """What the federation above may ask an edge for.

    Raises:
        TrainerError: reason "edge".
    """
    if turn.tensors:
        raise TrainerError("a tier of clients that trains a part of the model cannot be an edge's", reason="edge")
    if turn.base is not None:
        raise TrainerError(
            "the federation above trains on a frozen base (model.frozen or model.adapters), which an edge does not "
            "hand on",
            reason="edge",
        )


def _digest(params: Path) -> bytes:
    return digest_file(params, offset=data_offset(params))
