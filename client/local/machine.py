"""What an agent finds out about its machine: for its own metrics and, in its heartbeats, for the server's operator.

Memory of the agent and its trainer, and of the trainer's GPU; how long the last training took. What cannot be found out
is not told, and nothing at all with `policy.share_machine = false`. Behind masks the number of examples is not told: it
would say how much data this client has. How long a training takes, the server sees in any case.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from roughfed.client.local.gpu import NOTHING, Gpu, GpuFigures, open_gpu
from roughfed.client.metrics import ClientMetrics
from roughfed.messages import ClientMessage, Heartbeat, Machine, Welcome
from roughfed.telemetry import measured

LOOK_S = 15.0  # as often as a client that has nothing to say sends a heartbeat
MAX_PROCESSES = 64

PROC = Path("/proc")


class Watcher:
    """Looks now and then, in a thread; what it saw last goes with every heartbeat."""

    def __init__(
        self,
        metrics: ClientMetrics,
        folder: Path,
        *,
        device: str,
        share: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is seen yet.

        Args:
            metrics: told what is seen.
            folder: state directory of the client.
            device: of the trainer, for example `cuda:0`.
            share: whether the server may be told.
            now: Unix time in seconds.
        """
        self._metrics, self._folder, self._share, self._now = metrics, folder, share, now
        self._device, self._gpu, self._asked = device, None, False
        self._samples_too = False
        self._seen = Machine()

    async def watch(self) -> None:
        """Look until this is cancelled."""
        while True:
            resident, held, gpu = await asyncio.to_thread(self._look)
            self._seen = dataclasses.replace(
                self._seen, rss_bytes=resident, gpu_memory_bytes=gpu.memory_bytes, gpu_utilization=gpu.utilization
            )
            self._metrics.machine(
                resident_bytes=resident,
                held_bytes=held,
                gpu_memory_bytes=gpu.memory_bytes,
                gpu_utilization=gpu.utilization,
            )
            await asyncio.sleep(LOOK_S)

    def _look(self) -> tuple[int | None, int | None, GpuFigures]:
        gpu = measured(self._look_at_gpu, NOTHING)
        return measured(resident_bytes, None), measured(lambda: held_bytes(self._folder), None), gpu

    def _look_at_gpu(self) -> GpuFigures:
        if not self._asked:
            self._asked, self._gpu = True, open_gpu(self._device)
        gpu: Gpu | None = self._gpu
        return NOTHING if gpu is None else gpu.look()

    def welcomed(self, welcome: Welcome) -> None:
        """A session stands: how far this clock is ahead of the server's, and what the server may know."""
        self._samples_too = welcome.server_sees == "updates"
        if welcome.time is not None:
            self._metrics.clock_skew(self._now() - welcome.time)

    def trained(self, seconds: float, samples: int) -> None:
        """A local training ended."""
        self._seen = dataclasses.replace(self._seen, train_seconds=seconds, samples=samples)

    def with_machine(self, message: ClientMessage) -> ClientMessage:
        """A message on its way to the server: a heartbeat takes along what may be told."""
        if not (self._share and isinstance(message, Heartbeat)):
            return message
        samples = self._seen.samples if self._samples_too else None
        return dataclasses.replace(message, machine=dataclasses.replace(self._seen, samples=samples, time=self._now()))


def resident_bytes(root: int | None = None, *, proc: Path = PROC) -> int | None:
    """Resident memory of a process (this one) and all that it started; None where the system does not tell.

    Pages that two of them share count in each.
    """
    waiting, found = [os.getpid() if root is None else root], list[int]()
    while waiting and len(found) < MAX_PROCESSES:
        process = proc / str(waiting.pop())
        try:
            pages = int((process / "statm").read_text().split()[1])
            children = [path.read_text() for path in process.glob("task/*/children")]
        except (OSError, ValueError, IndexError):  # it has just ended
            continue
        found.append(pages * os.sysconf("SC_PAGE_SIZE"))
        waiting += [int(pid) for text in children for pid in text.split()]
    return sum(found) if found else None


def held_bytes(folder: Path) -> int:
    """Bytes of all files under a folder; what is deleted meanwhile does not count."""
    total = 0
    for at, _, names in os.walk(folder):  # a folder that has just gone is left out by itself
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(at, name).lstat().st_size
    return total
