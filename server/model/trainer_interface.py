"""What the server asks of the trainer process beside it; `server/model/trainer_process.py` is the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from roughfed.training import BaseFile, Turn
from roughfed.types import Evaluation

Sums = tuple[int, float, Sequence[int], Sequence[int]]
"""Number of examples, sum of the losses, examples by class [C], correct ones by class [C]."""


class TrainerInterface(Protocol):
    """The trainer process beside the server; it knows torch, the server does not."""

    async def evaluate(self, params: Path, *, model_digest: bytes) -> Evaluation | None:
        """Evaluate a model file on the server's own data; None when it has none."""
        ...

    def stand_on(self, base: BaseFile) -> None:
        """Take the frozen base that every model file belongs to from now on."""
        ...

    async def calibrate(
        self, params: Path, out: Path, given: Mapping[str, object]
    ) -> tuple[bytes, tuple[float, ...]] | None:
        """Finish a model file from sums; (digest, classifier), or None when it could not."""
        ...

    async def score(self, asked: Mapping[str, object]) -> list[Sums]:
        """Sums over the server's own examples of each coalition of updates; raises TrainerError."""
        ...

    async def root_counts(self) -> tuple[int, ...]:
        """The server's examples of each class; raises TrainerError."""
        ...

    def hold_out(self, take: Sequence[int], *, seed: int) -> None:
        """Set examples aside, to make updates of."""
        ...

    async def fit_root(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn, steps: int
    ) -> bool:
        """Write an update of what was set aside; whether it could."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...
