"""Clients that train honestly and send something else: the delta is changed after the fit, before it is encoded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from roughfed.child import Description
from roughfed.client.session import LocalTrainer
from roughfed.files import disk_errors
from roughfed.training import FitResult, Turn
from roughfed.types import Evaluation

log = logging.getLogger(__name__)

SLICE = 1 << 18


class MultiplyingTrainer:
    """A `LocalTrainer` whose deltas are multiplied: -1 turns them round, 10 makes them loud.

    With `server_sees = "sketches"` or `"sums"` a loud delta is clipped to C afterwards, like every other.
    """

    def __init__(self, trainer: LocalTrainer, factor: float, *, after: int = 0) -> None:
        """`after`: rounds that this process takes part in before it begins."""
        self._trainer, self._factor, self._after = trainer, factor, after
        self._rounds: list[int] = []
        self.on_progress: Callable[[float], None] | None = None
        trainer.on_progress = self._report

    async def describe(self) -> Description:
        """What the app is."""
        return await self._trainer.describe()

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn
    ) -> FitResult:
        """Train, then change what came out."""
        result = await self._trainer.fit(params, delta, settings=settings, seed=seed, turn=turn)
        if (number := turn.round) not in self._rounds:
            self._rounds.append(number)
        if self._rounds.index(number) >= self._after:
            await asyncio.to_thread(multiply, delta, self._factor)
            log.info("round %d: the delta is multiplied by %g", number, self._factor)
        return result

    async def evaluate(self, params: Path, *, model_digest: bytes) -> Evaluation:
        """Evaluate honestly."""
        return await self._trainer.evaluate(params, model_digest=model_digest)

    async def stop(self) -> None:
        """End it."""
        await self._trainer.stop()

    def _report(self, share: float) -> None:
        if self.on_progress is not None:
            self.on_progress(share)


def multiply(delta: Path, factor: float) -> None:
    """Multiply a bare float32 [D] file in place."""
    with disk_errors("change the delta"):
        values = np.memmap(delta, dtype="<f4", mode="r+")  # [D]
        for at in range(0, len(values), SLICE):
            values[at : at + SLICE] *= np.float32(factor)
        values.flush()
