"""Whether clients that choose their method by themselves choose the right kind: planted data, the trainer's own loop.

A cell is an imbalance, a share of wrong labels and a number of tasks. Each of its clients draws its own number of
Fashion-MNIST images, its own order of the classes from head to tail, and its own wrong labels; it trains alone, and
what it has chosen by the last round counts. C classes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from roughfed import models
from roughfed.data import Dataset, load
from roughfed.data.rough import mislabelled, task_classes
from roughfed.data.roughness import NOISE_MAPS
from roughfed.data.stream import Tasks, tasks_of
from roughfed.deploy.speed.measure import machine
from roughfed.methods import AUTO, read_method
from roughfed.rng import derive, generator
from tests.bench.command import Benchmark
from tests.bench.harness.federation import LocalFederation

DATA = "fashion-mnist"
IMBALANCES, NOISES, TASKS = (1.0, 20.0, 100.0), (0.0, 0.4), (1, 5)
ROUNDS = 10
FAMILIES = ("long-tail", "noisy", "continual")


@dataclass(frozen=True, slots=True)
class AutoOptions:
    """Which clients choose."""

    clients: Annotated[int, typer.Option(min=1, help="Clients in each of the 12 cells.")] = 5
    model: Annotated[str, typer.Option(help="A listed model, fresh weights for each client.")] = "mlp"
    least: Annotated[int, typer.Option(min=1, help="Examples of the smallest client.")] = 600
    most: Annotated[int, typer.Option(min=1, help="Examples of the largest one.")] = 1500
    kind: Annotated[str, typer.Option("--noise-kind", help="Of the wrong labels: symmetric or asymmetric.")] = (
        "symmetric"
    )
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """How rough a client's data are; 1, 0 and 1: not at all."""

    imbalance: float
    noise: float
    tasks: int

    @property
    def families(self) -> tuple[str, ...]:
        """What fits: wrong labels that go evenly are left alone where there is a tail, or where each task is short."""
        rough = (self.imbalance > 1, self.noise > 0 and self.imbalance == 1 and self.tasks == 1, self.tasks > 1)
        return tuple(family for family, there in zip(FAMILIES, rough, strict=True) if there)

    def __str__(self) -> str:
        """For tables."""
        return f"imbalance {self.imbalance:g}, noise {self.noise:g}, tasks {self.tasks}"


CELLS = tuple(Cell(*row) for row in product(IMBALANCES, NOISES, TASKS))


def run_auto_bench(options: AutoOptions, *, say: Callable[[str, Mapping[str, object]], None]) -> dict[str, object]:
    """Let the clients of every cell choose.

    Args:
        options: what to plant.
        say: gets each cell's name and figures as soon as they are there.

    Returns:
        the options; `results`: cell -> {right, clients, chosen, seconds}; `right`: share of all clients whose choice is
        of exactly the families that fit; the machine.
    """
    whole, _ = load(DATA)
    results: dict[str, dict[str, object]] = {}
    right = 0
    for cell in CELLS:
        begun = time.process_time()
        lines = [choice(whole, cell, options, number) for number in range(options.clients)]
        fitting = sum(families(line) == cell.families for line in lines)
        right += fitting
        seconds = (time.process_time() - begun) / options.clients
        results[str(cell)] = {"right": fitting, "clients": options.clients, "chosen": lines, "cpu_seconds": seconds}
        say(str(cell), results[str(cell)])
    share = right / (options.clients * len(CELLS))
    return {"bench": "auto", **asdict(options), "right": share, "results": results, "machine": machine()}


def families(line: str) -> tuple[str, ...]:
    """Of the parts of a method."""
    found = {part.row.family for part in read_method(line).parts}
    return tuple(family for family in FAMILIES if family in found)


def choice(whole: Dataset, cell: Cell, options: AutoOptions, number: int) -> str:
    """What one client has chosen after its last task."""
    seed = derive(options.seed, "auto", str(cell), number)
    train = planted(whole, cell, options, seed)
    build = partial(models.build, options.model, whole.input_shape, whole.num_classes, seed)
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        alone = LocalFederation(
            build, [train], Path(folder), num_classes=whole.num_classes, seed=seed, settings={"method": AUTO}
        )
        alone.run(ROUNDS)
        return bytes(alone.clients[0].remembered[AUTO]["line"].tolist()).decode()


def planted(whole: Dataset, cell: Cell, options: AutoOptions, seed: int) -> Dataset | Tasks:
    """The examples of one client, as they arrive."""
    rng = generator(seed, "planted")
    train = whole.take(drawn(whole, cell.imbalance, int(rng.integers(options.least, options.most + 1)), rng))
    if cell.noise:
        train = mislabelled(train, options.kind, cell.noise, rng, NOISE_MAPS[DATA])
    if cell.tasks == 1:
        return train
    groups: Sequence[Sequence[int]] = [group.tolist() for group in task_classes(whole.num_classes, cell.tasks)]
    return tasks_of(train, groups, rounds_per_task=ROUNDS // cell.tasks)


def drawn(whole: Dataset, imbalance: float, total: int, rng: np.random.Generator) -> np.ndarray:
    """About `total` examples with an exponential long tail over a random order of the classes, int64 places."""
    falloff = imbalance ** (-np.arange(whole.num_classes) / (whole.num_classes - 1))  # [C]
    sizes = np.maximum(1, np.round(total * falloff / falloff.sum())).astype(int)
    order = rng.permutation(whole.num_classes)
    places = [
        rng.choice(np.flatnonzero(whole.labels == c), size, replace=False) for c, size in zip(order, sizes, strict=True)
    ]
    return np.sort(np.concatenate(places))


def _line(name: str, figures: Mapping[str, Any]) -> str:
    return f"{name:<34} {figures['right']} of {figures['clients']}, {figures['cpu_seconds']:.2f} s each"


BENCH = Benchmark(AutoOptions, run_auto_bench, _line)
