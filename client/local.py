"""The trainer process as the agent sees it: started when it is needed, started again when it died."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from roughfed.child import Description, FitResult, Trainer
from roughfed.errors import TrainerError
from roughfed.types import Evaluation


class TrainerProcess:
    """A `LocalTrainer` whose work is done by a child process."""

    def __init__(self, command: Sequence[str], log_file: Path) -> None:
        """`command` as of `roughfed.child.trainer_command`."""
        self.on_progress: Callable[[float], None] | None = None
        self._command, self._log_file = command, log_file
        self._trainer: Trainer | None = None
        self._starting = asyncio.Lock()

    async def describe(self) -> Description:
        """What the app is."""
        return await (await self._ready()).describe()

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, round: int
    ) -> FitResult:
        """Train; a process that was killed meanwhile is started again, once, with the same seed."""
        try:
            trainer = await self._ready()
            return await trainer.fit(params, delta, settings=settings, seed=seed, round=round)
        except TrainerError as error:
            if error.reason != "killed":
                raise
        trainer = await self._ready()
        return await trainer.fit(params, delta, settings=settings, seed=seed, round=round)

    async def evaluate(self, params: Path, *, model_digest: bytes) -> Evaluation:
        """Evaluate on the held-out data."""
        return await (await self._ready()).evaluate(params, model_digest=model_digest)

    async def stop(self) -> None:
        """End the process."""
        if self._trainer is not None:
            await self._trainer.stop()
            self._trainer = None

    async def _ready(self) -> Trainer:
        async with self._starting:
            if self._trainer is None or not self._trainer.alive:
                self._trainer = await Trainer.start(self._command, log=self._log_file)
                self._trainer.on_progress = self._report
            return self._trainer

    def _report(self, share: float) -> None:
        if self.on_progress is not None:  # whoever wants to know comes after the first start
            self.on_progress(share)
