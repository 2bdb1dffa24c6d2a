"""Clients that train and send something else: the delta is changed after the fit, before it is encoded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roughfed.deploy.attack.poison import Poison, PoisonContext
from roughfed.errors import TrainerError
from roughfed.files import disk_errors
from roughfed.params import Flat, read_flat
from roughfed.rng import generator
from roughfed.training import FitResult, Turn
from roughfed.types import Evaluation

if TYPE_CHECKING:
    from roughfed.client.local.trainer_process import LocalTrainer
    from roughfed.deploy.attack.collusion import Meeting
    from roughfed.trainer_client import Description

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AttackPlan:
    """What an attacker has in mind.

    Attributes:
        poison: how it makes its update.
        clients: n, as far as it knows.
        attackers: f, this one too.
        jitter: see `Poison.craft`.
        after: rounds that this process takes part in honestly before it begins.
        meeting: where it meets the others; None: it knows its own updates alone.
    """

    poison: Poison
    clients: int = 5
    attackers: int = 1
    jitter: float = 0.0
    after: int = 0
    meeting: Meeting | None = None


class PoisoningTrainer:
    """A `LocalTrainer` whose deltas are crafted out of the true ones.

    With `server_sees = "sketches"` or `"sums"` a loud delta is clipped to C afterwards, like every other.
    """

    def __init__(self, trainer: LocalTrainer, plot: AttackPlan) -> None:
        """Over an honest one."""
        self._trainer, self._plot = trainer, plot
        self._rounds: list[int] = []
        self._model: Flat | None = None
        self._step: Flat | None = None
        self._first: Flat | None = None
        self.on_progress: Callable[[float], None] | None = None
        trainer.on_progress = self._report

    async def describe(self) -> Description:
        """What the app is."""
        return await self._trainer.describe()

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn
    ) -> FitResult:
        """Train, then change what came out.

        Raises:
            TrainerError: training failed, or the colluders train another model.
            StorageError: the disk refused.
        """
        result = await self._trainer.fit(params, delta, settings=settings, seed=seed, turn=turn)
        if (number := turn.round) not in self._rounds:
            await asyncio.to_thread(self._look, params)
            self._rounds.append(number)
        if self._rounds.index(number) >= self._plot.after:
            shown = await self._shown(f"{turn.run} {number}", delta)
            await asyncio.to_thread(self._craft, delta, shown, seed)
            log.info("round %d: the delta is crafted, %d known", number, len(shown))
            result = replace(result, num_examples=self._plot.poison.claims or result.num_examples)
        if self._first is None:
            self._first = await asyncio.to_thread(_read, delta)
        return result

    async def evaluate(self, params: Path, *, model_digest: bytes, turn: Turn) -> Evaluation:
        """Evaluate honestly."""
        return await self._trainer.evaluate(params, model_digest=model_digest, turn=turn)

    async def compare(
        self, params: Path, *, model_digest: bytes, settings: Mapping[str, object], turn: Turn
    ) -> Mapping[str, Evaluation]:
        """Compare honestly."""
        return await self._trainer.compare(params, model_digest=model_digest, settings=settings, turn=turn)

    async def train_loss(self, params: Path, *, turn: Turn) -> float:
        """Choose honestly."""
        return await self._trainer.train_loss(params, turn=turn)

    async def stop(self) -> None:
        """End it."""
        if self._plot.meeting is not None:
            await self._plot.meeting.close()
        await self._trainer.stop()

    def _look(self, params: Path) -> None:
        """Note what the global model moved by since this client saw it last."""
        model = np.array(read_flat(params))  # the file may be gone in the next round
        if self._model is not None:
            self._step = model - self._model
        self._model = model

    async def _shown(self, occasion: str, delta: Path) -> list[Flat]:
        """What is known of this round's updates, in an order that all colluders agree on."""
        own = await asyncio.to_thread(_read, delta)
        if self._plot.meeting is None:
            return [own]
        shown = list((await self._plot.meeting.exchange(occasion, own)).values())
        if any(len(one) != len(own) for one in shown):
            raise TrainerError("the colluders train models of different sizes", reason="colluders")
        return shown or [own]

    def _craft(self, delta: Path, shown: list[Flat], seed: int) -> None:
        plot, peers = self._plot, np.stack(shown)
        scene = PoisonContext(
            peers=peers,
            own=_read(delta),
            clients=plot.clients,
            attackers=plot.attackers,
            rng=generator(seed, "poison"),
            last_global=self._step,
            last_own=self._first,
            fellows=peers,
        )
        made = plot.poison.craft(scene, jitter=plot.jitter)
        with disk_errors("change the delta"):
            made.astype("<f4", copy=False).tofile(delta)

    def _report(self, share: float) -> None:
        if self.on_progress is not None:
            self.on_progress(share)


def _read(delta: Path) -> Flat:
    """A bare float32 [D] file."""
    with disk_errors("read the delta"):
        return np.fromfile(delta, dtype="<f4").astype(np.float32, copy=False)
