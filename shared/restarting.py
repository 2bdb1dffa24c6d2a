"""A trainer process that is started when it is first needed, and again after it died.

The agent's trainer and the worker beside the server are this; what a death means differs, and is theirs to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from roughfed.child import Trainer


class Restarting:
    """The present `roughfed.child.Trainer` of a command."""

    def __init__(
        self, command: Sequence[str], log_file: Path, *, on_progress: Callable[[float], None] | None = None
    ) -> None:
        """Start nothing yet.

        Args:
            command: as of `roughfed.child.trainer_command`.
            log_file: takes what user code prints.
            on_progress: hears of a training's 0 to 1.
        """
        self._command, self._log_file, self._on_progress = command, log_file, on_progress
        self._trainer: Trainer | None = None
        self._starting = asyncio.Lock()

    async def ready(self) -> Trainer:
        """The running process.

        Raises:
            TrainerError: the program cannot be started.
        """
        async with self._starting:
            if self._trainer is None or not self._trainer.alive:
                self._trainer = await Trainer.start(self._command, log=self._log_file)
                self._trainer.on_progress = self._on_progress
            return self._trainer

    async def stop(self) -> None:
        """End the process; `ready` would start another one."""
        if self._trainer is not None:
            await self._trainer.stop()
            self._trainer = None
