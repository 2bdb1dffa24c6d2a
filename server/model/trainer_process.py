"""The trainer process beside the server: it knows torch and the model, the server only knows files and numbers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from roughfed.errors import TrainerError
from roughfed.server.model.trainer_interface import Sums
from roughfed.trainer_client import Description, Restarting, Trainer
from roughfed.training import BaseFile, Turn
from roughfed.types import Evaluation

log = logging.getLogger(__name__)

EVALUATE_S = 600.0
"""An evaluation that takes longer hangs (a CUDA driver, a data loader): it must not hold up the run for ever."""


class ServerTrainer:
    """A trainer that is started when it is first needed, and again after it died."""

    def __init__(self, command: Sequence[str], log_file: Path) -> None:
        """`command` as of `roughfed.trainer_client.trainer_command`; deploy/ makes it."""
        self._child = Restarting(command, log_file)
        self._aside: dict[str, object] | None = None
        self._told: Trainer | None = None
        self._base: BaseFile | None = None

    async def describe(self) -> Description:
        """What the model is."""
        return await (await self._child.ready()).describe()

    def stand_on(self, base: BaseFile) -> None:
        """Take the frozen base that every model file belongs to from now on."""
        self._base = base

    async def initial(self, path: Path, *, seed: int) -> bytes:
        """Write seeded initial weights to a model file; returns their digest."""
        return await (await self._child.ready()).initial(path, seed=seed)

    async def root_counts(self) -> tuple[int, ...]:
        """The server's examples of each class; one number where there are no classes, 0 without data.

        Raises:
            TrainerError: the data cannot be read.
        """
        return tuple((await (await self._child.ready()).call("root-counts"))["counts"])

    def hold_out(self, take: Sequence[int], *, seed: int) -> None:
        """Set `take[c]` examples of each class c aside, to train on; only the others are evaluated on from now on."""
        self._aside, self._told = {"take": list(take), "seed": seed}, None

    async def fit_root(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn, steps: int
    ) -> bool:
        """Train on what was set aside and write the delta, bare float32 [D].

        Args:
            params: model file to begin with.
            delta: where the delta goes.
            settings: the learning settings that the clients get.
            seed: of shuffles and dropout.
            turn: where in the run it stands.
            steps: batches to train on; 0 goes by the epochs of the settings.

        Returns:
            whether it was written; that the process failed or hangs is logged.
        """
        arguments = {"params": str(params), "delta": str(delta), "settings": dict(settings), "turn": turn.plain()}
        try:
            async with asyncio.timeout(EVALUATE_S):
                await (await self._ready()).call("fit-root", **arguments, seed=seed, steps=steps)
                return True
        except TimeoutError:
            log.warning("the worker did not make its update within %.0f s; it is started again", EVALUATE_S)
            await self._child.stop()
        except TrainerError as error:
            log.warning("the worker could not make its update: %s", error)
        return False

    async def _ready(self) -> Trainer:
        """The running process, which knows what was set aside."""
        trainer = await self._child.ready()
        if self._aside is not None and trainer is not self._told:
            await trainer.call("hold-out", **self._aside)
            self._told = trainer
        return trainer

    async def evaluate(self, params: Path, *, model_digest: bytes) -> Evaluation | None:
        """Evaluate a model file on the server's own data; None when it has none, or when the process failed or hangs.

        A failure is logged and never reaches the round: evaluation is a side tap.
        """
        try:
            async with asyncio.timeout(EVALUATE_S):
                trainer = await self._ready()
                if (await trainer.describe()).num_test == 0:
                    return None
                return await trainer.evaluate(params, model_digest=model_digest, base=self._base)
        except TimeoutError:
            log.warning("the worker did not evaluate within %.0f s; it is started again", EVALUATE_S)
            await self._child.stop()
            return None
        except TrainerError as error:
            log.warning("the worker could not evaluate: %s", error)
            return None

    async def score(self, asked: Mapping[str, object]) -> list[Sums]:
        """Evaluate the models of coalitions of updates, on the server's own examples.

        Args:
            asked: see `roughfed.client.trainer.evaluation.coalitions`.

        Returns:
            the sums of each coalition.

        Raises:
            TrainerError: the process failed, or hangs and is started again.
        """
        base = None if self._base is None else self._base.plain()
        try:
            async with asyncio.timeout(EVALUATE_S):
                found = await (await self._ready()).call("score", stands_on=base, **asked)
                return [tuple(one) for one in found["sums"]]
        except TimeoutError:
            await self._child.stop()
            raise TrainerError(f"the worker did not answer within {EVALUATE_S:.0f} s", reason="killed") from None

    async def calibrate(
        self, params: Path, out: Path, given: Mapping[str, object]
    ) -> tuple[bytes, tuple[float, ...]] | None:
        """Finish a model from sums; None when the process failed or hangs, which is logged.

        Args:
            params: the model file.
            out: where the finished one goes.
            given: see `roughfed.client.trainer.training.calibration`.

        Returns:
            digest of the finished model, and its classifier: weights [C x d], then biases [C].
        """
        try:
            async with asyncio.timeout(EVALUATE_S):
                trainer = await self._child.ready()
                found = await trainer.call("calibrate", params=str(params), out=str(out), **given)
                return bytes.fromhex(found["digest"]), tuple(found["head"])
        except TimeoutError:
            log.warning("the worker did not calibrate within %.0f s; it is started again", EVALUATE_S)
            await self._child.stop()
            return None
        except TrainerError as error:
            log.warning("the worker could not calibrate: %s", error)
            return None

    async def stop(self) -> None:
        """End the process."""
        await self._child.stop()
