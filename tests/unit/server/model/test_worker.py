"""The worker beside the server: whatever goes wrong in it, the run goes on."""

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roughfed.errors import TrainerError
from roughfed.server.model import trainer_process as worker_module
from roughfed.server.model.trainer_process import ServerTrainer
from roughfed.types import Evaluation

DIGEST = bytes(32)


class Child:
    """A trainer process that hangs or fails until it was stopped."""

    def __init__(self, trouble: Exception | None) -> None:
        self.trouble, self.stopped = trouble, 0

    async def ready(self) -> Any:
        return self

    async def describe(self) -> Any:
        return SimpleNamespace(num_test=10)

    async def evaluate(self, params: Path, *, model_digest: bytes, base: object = None) -> Evaluation:
        if self.stopped:
            return Evaluation(model_digest, 10, 1.0)
        if self.trouble is not None:
            raise self.trouble
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def stop(self) -> None:
        self.stopped += 1


def evaluate(child: Child) -> list[Evaluation | None]:
    worker = ServerTrainer([], Path("worker.log"))
    worker._child = child  # pyright: ignore[reportAttributeAccessIssue]

    async def twice() -> list[Evaluation | None]:
        return [await worker.evaluate(Path("model"), model_digest=DIGEST) for _ in range(2)]

    return asyncio.run(twice())


def test_a_worker_that_hangs_is_started_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_module, "EVALUATE_S", 0.01)
    with caplog.at_level(logging.WARNING):
        first, second = evaluate(child := Child(None))
    assert first is None
    assert second == Evaluation(DIGEST, 10, 1.0)
    assert child.stopped == 1
    assert "did not evaluate within" in caplog.text


def test_a_worker_that_fails_is_logged_and_left_to_its_own_restart(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert evaluate(child := Child(TrainerError("no memory"))) == [None, None]
    assert child.stopped == 0
    assert "no memory" in caplog.text
