"""The trainer process as the agent sees it: a training that its process did not survive is tried once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from roughfed.errors import TrainerError
from roughfed.trainer_client import Description, Restarting
from roughfed.training import FitResult, Turn
from roughfed.types import Evaluation


class LocalTrainer(Protocol):
    """Who trains: the trainer process, or the bench's synthetic one. `on_progress` hears of a training's 0 to 1."""

    on_progress: Callable[[float], None] | None

    async def describe(self) -> Description:
        """What the app is."""
        ...

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn
    ) -> FitResult:
        """Train from a model file and write the bare delta."""
        ...

    async def evaluate(self, params: Path, *, model_digest: bytes, turn: Turn) -> Evaluation:
        """Evaluate a model file, and this client's own part of it, on the held-out data."""
        ...

    async def compare(
        self, params: Path, *, model_digest: bytes, settings: Mapping[str, object], turn: Turn
    ) -> Mapping[str, Evaluation]:
        """Evaluate this client's other models, made from a model file: "personal" and "alone", where there are such."""
        ...

    async def train_loss(self, params: Path, *, turn: Turn) -> float:
        """The mean loss of a model file on the training data."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...


class TrainerProcess:
    """A `LocalTrainer` whose work is done by a child process."""

    def __init__(self, command: Sequence[str], log_file: Path) -> None:
        """`command` as of `roughfed.trainer_client.trainer_command`."""
        self.on_progress: Callable[[float], None] | None = None
        self._child = Restarting(command, log_file, on_progress=self._report)

    async def describe(self) -> Description:
        """What the app is."""
        return await (await self._child.ready()).describe()

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn
    ) -> FitResult:
        """Train; a process that was killed meanwhile is started again, once, with the same seed."""
        try:
            trainer = await self._child.ready()
            return await trainer.fit(params, delta, settings=settings, seed=seed, turn=turn)
        except TrainerError as error:
            if error.reason != "killed":
                raise
        trainer = await self._child.ready()
        return await trainer.fit(params, delta, settings=settings, seed=seed, turn=turn)

    async def evaluate(self, params: Path, *, model_digest: bytes, turn: Turn) -> Evaluation:
        """Evaluate on the held-out data."""
        return await (await self._child.ready()).evaluate(params, model_digest=model_digest, turn=turn)

    async def compare(
        self, params: Path, *, model_digest: bytes, settings: Mapping[str, object], turn: Turn
    ) -> Mapping[str, Evaluation]:
        """Evaluate this client's other models on the held-out data."""
        trainer = await self._child.ready()
        return await trainer.compare(params, model_digest=model_digest, settings=settings, turn=turn)

    async def train_loss(self, params: Path, *, turn: Turn) -> float:
        """The mean loss on the training data."""
        return await (await self._child.ready()).train_loss(params, turn=turn)

    async def stop(self) -> None:
        """End the process."""
        await self._child.stop()

    def _report(self, share: float) -> None:
        if self.on_progress is not None:  # whoever wants to know comes after the first start
            self.on_progress(share)
