"""Trainers that share a machine: how long all take where they share its cores, and where each takes what it is told.

Three ways: one thread each (nobody can do better), the default (`device.threads = 0`: they count one another), and all
cores each with threads that wait by turning round, as PyTorch does by itself. In turns, so that other work on the
machine slows all of them alike.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from roughfed import cores
from roughfed.cores import cores_here
from roughfed.deploy.speed.measure import machine
from roughfed.trainer_client import Trainer, trainer_command
from roughfed.training import Turn
from tests.bench.command import Benchmark

SPINNING = {"OMP_WAIT_POLICY": "active"}

APP = """\
import numpy as np
from torch import nn
from roughfed import Client

rng = np.random.default_rng(0)
x, y = rng.standard_normal((512, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, 512)


def model():
    return nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten(),
                         nn.Linear(32 * 24 * 24, 10))


client = Client(model, (x, y), epochs=1)
"""


@dataclass(frozen=True, slots=True)
class SharedCoresOptions:
    """How many trainers, and how often."""

    trainers: Annotated[int, typer.Option(min=2, help="Trainer processes that train at the same time.")] = 6
    repeats: Annotated[int, typer.Option(min=1, help="Trainings of each kind; medians are told.")] = 3


@dataclass(frozen=True, slots=True)
class Way:
    """How trainers take threads."""

    threads: int
    environment: Mapping[str, str]


def run_shared_cores_bench(options: SharedCoresOptions) -> dict[str, object]:
    """Time all three.

    Returns:
        the options, median seconds of each, and the ratios to one thread each (medians of the pairs).
    """
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as temporary:
        seconds = asyncio.run(_measure(Path(temporary), options))
    pairs = {name: [b / a for a, b in zip(seconds["one"], took, strict=True)] for name, took in seconds.items()}
    return {
        "bench": "shared-cores",
        "trainers": options.trainers,
        "seconds": {name: median(took) for name, took in seconds.items()},
        "times_one_thread": {name: median(pairs[name]) for name in ("shared", "all")},
        "machine": machine(),
    }


async def _measure(folder: Path, options: SharedCoresOptions) -> dict[str, list[float]]:
    (folder / "app.py").write_text(APP)
    ways = {"one": Way(1, {}), "shared": Way(0, {}), "all": Way(cores_here(), SPINNING)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():
            seconds[name].append(await _together(folder, way, options.trainers))
    return seconds


async def _together(folder: Path, way: Way, trainers: int) -> float:
    """Seconds until the last of so many trainers has trained; their starts are not counted."""
    command = trainer_command(app=f"{folder / 'app.py'}:client", device="cpu", threads=way.threads)
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    environment |= {cores.UNIT: str(folder), **way.environment}
    started = [await Trainer.start(command, env=environment, log=folder / "log") for _ in range(trainers)]
    try:
        await asyncio.gather(*(trainer.describe() for trainer in started))
        model = folder / "model"
        await started[0].initial(model, seed=0)
        began = time.monotonic()
        await asyncio.gather(*(_fit(trainer, model, number) for number, trainer in enumerate(started)))
        return time.monotonic() - began
    finally:
        await asyncio.gather(*(trainer.stop() for trainer in started))


async def _fit(trainer: Trainer, model: Path, number: int) -> None:
    delta = model.with_name(f"delta-{number}")
    await trainer.fit(model, delta, settings={}, seed=number, turn=Turn(1))


BENCH = Benchmark(SharedCoresOptions, run_shared_cores_bench)
