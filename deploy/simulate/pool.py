"""Who trains for the virtual clients: a few trainer processes, each for whichever client is next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from roughfed.errors import TrainerError
from roughfed.trainer_client import Asking, Description, Restarting
from roughfed.training import FitResult, Turn


class Pool(Protocol):
    """Something that answers a trainer's questions for any of the clients."""

    async def call(self, client: int, op: str, **arguments: object) -> dict[str, Any]:
        """Ask for one thing for one client; raises TrainerError."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...


class ProcessPool:
    """Trainer processes on this machine."""

    def __init__(self, command: Sequence[str], workers: int, log_file: Path) -> None:
        """Start nothing yet; `command` as of `roughfed.trainer_client.trainer_command` with its `crowd`."""
        self._all = [Restarting(command, log_file) for _ in range(workers)]
        self._free: asyncio.Queue[Restarting] = asyncio.Queue()
        for each in self._all:
            self._free.put_nowait(each)

    async def call(self, client: int, op: str, **arguments: object) -> dict[str, Any]:
        """Ask the next process that is free."""
        worker = await self._free.get()
        try:
            trainer = await worker.ready()
            return await trainer.call(op, client=client, **arguments)
        finally:
            self._free.put_nowait(worker)

    async def stop(self) -> None:
        """End the processes."""
        await asyncio.gather(*(each.stop() for each in self._all))


class PoolTrainer(Asking):
    """The trainer of one client (a `LocalTrainer`), which is whoever of the pool is free."""

    def __init__(self, pool: Pool, client: int) -> None:
        """For client number `client`."""
        self.on_progress: Callable[[float], None] | None = None
        self._pool, self._client = pool, client
        self._description: Description | None = None

    async def call(self, op: str, **arguments: object) -> dict[str, Any]:
        """Ask the pool."""
        return await self._pool.call(self._client, op, **arguments)

    async def describe(self) -> Description:
        """What the app is; asked for once."""
        if self._description is None:
            self._description = await super().describe()
        return self._description

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn
    ) -> FitResult:
        """Train; a process that was killed meanwhile is started again, once, with the same seed."""
        try:
            return await super().fit(params, delta, settings=settings, seed=seed, turn=turn)
        except TrainerError as error:
            if error.reason != "killed":
                raise
        return await super().fit(params, delta, settings=settings, seed=seed, turn=turn)

    async def stop(self) -> None:
        """Nothing of it runs."""
