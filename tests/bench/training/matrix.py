"""Every remedy on every roughness on real data that nobody tuned it for: does a default ever lose to plain training?

A cell is a data set and a roughness; in each, a federation of perceptrons with two layers learns by every method. All
clients count alike, as in masked rounds, which change no sum. The figure is the balanced accuracy on clean test data,
mean of the last three rounds (a single one swings by two points), less that of plain training with the same seed.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from roughfed.data import Dataset
from roughfed.data.partition import PARTITIONERS
from roughfed.data.rough import long_tail, mislabelled, task_classes
from roughfed.data.roughness import NOISE_MAPS
from roughfed.data.stream import Tasks, tasks_of
from roughfed.deploy.speed.measure import machine
from roughfed.methods import AUTO, PLAIN
from roughfed.registry import look_up
from roughfed.rng import derive, generator
from tests.bench.command import Benchmark, Seeds, names
from tests.bench.harness.federation import LocalFederation
from tests.bench.training import tables

if TYPE_CHECKING:
    from torch import nn

ALPHA, MIN_EXAMPLES, WIDTH = 0.5, 30, 128
LEARNING: Mapping[str, object] = {"batch_size": 32, "lr": 0.05, "momentum": 0.9, "epochs": 2}
LAST = 3
"""Rounds whose mean is the figure."""

METHODS = (PLAIN, "long-tail", "gce", "noisy", "rough", AUTO)


@dataclass(frozen=True, slots=True)
class Roughness:
    """What is wrong with the data of a cell; as it stands: nothing but unlike clients.

    Attributes:
        imbalance: largest class over smallest.
        kind: of the wrong labels.
        rate: share of them at a noisy client.
        noisy: share of the clients that are.
        tasks: in which the classes arrive.
        alike: all clients hold the same classes.
    """

    imbalance: float = 1.0
    kind: str = "symmetric"
    rate: float = 0.0
    noisy: float = 1.0
    tasks: int = 1
    alike: bool = False


CELLS: Mapping[str, Roughness] = {
    "clean, IID": Roughness(alike=True),
    "clean": Roughness(),
    "tail 10": Roughness(imbalance=10),
    "tail 100": Roughness(imbalance=100),
    "symmetric 20 %": Roughness(rate=0.2),
    "symmetric 40 %": Roughness(rate=0.4),
    "symmetric 40 %, half of the clients": Roughness(rate=0.4, noisy=0.5),
    "asymmetric 40 %": Roughness(kind="asymmetric", rate=0.4),
    "asymmetric 40 %, half of the clients": Roughness(kind="asymmetric", rate=0.4, noisy=0.5),
    "tail 10, symmetric 40 %, half of the clients": Roughness(imbalance=10, rate=0.4, noisy=0.5),
    "five tasks": Roughness(tasks=5),
}


@dataclass(frozen=True, slots=True)
class MatrixOptions:
    """Which cells."""

    seeds: Seeds = (0, 1, 2)
    data: Annotated[Sequence[str], names("Data sets.")] = ()
    cells: Annotated[Sequence[str], names("Roughnesses.")] = ()
    methods: Annotated[Sequence[str], names("Methods; plain is always played.")] = ()
    clients: Annotated[int, typer.Option(min=2, help="Of each federation.")] = 8
    examples: Annotated[int, typer.Option(min=100, help="Of each federation, at most.")] = 4000
    rounds: Annotated[int, typer.Option(min=1, help="Of each federation.")] = 25
    workers: Annotated[int, typer.Option(min=1, help="Federations that learn at once.")] = 2


@dataclass(frozen=True, slots=True)
class Game:
    """One federation."""

    data: str
    cell: str
    method: str
    seed: int
    clients: int
    examples: int
    rounds: int


def run_matrix(options: MatrixOptions, *, say: Callable[[str, Mapping[str, object]], None]) -> dict[str, object]:
    """Play every cell with every method and seed.

    Args:
        options: which.
        say: gets each cell's name and its methods' points over plain as soon as all are there.

    Returns:
        the options; `results`: "DATA: CELL" -> method -> {balanced, points, spread, choices}, means over the seeds,
        `points` over plain with the same seed; `worst`: method -> its lowest points and where; the machine.

    Raises:
        ConfigError: no such data, cell or method; or the data are not here.
    """
    data = options.data or tables.names()
    for each in data:
        tables.load_real(each)
    for each in options.cells:
        look_up(CELLS, each, key="--cells")
    cells = options.cells or tuple(CELLS)
    methods = (PLAIN, *(m for m in options.methods or METHODS if m != PLAIN))
    results: dict[str, dict[str, dict[str, Any]]] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context, initializer=_lower_priority) as pool:
        games = [
            Game(one, cell, method, seed, options.clients, options.examples, options.rounds)
            for one, cell in product(data, cells)
            for method, seed in product(methods, options.seeds)
        ]
        played = pool.map(play, games)
        for one, cell in product(data, cells):
            found = {method: [next(played) for _ in options.seeds] for method in methods}
            results[f"{one}: {cell}"] = figures = dict(_figures(found))
            say(f"{one}: {cell}", figures)
    worst: dict[str, object] = {}
    for method in methods[1:]:
        points, where = min((figures[method]["points"], cell) for cell, figures in results.items())
        worst[method] = {"points": points, "where": where}
    return {"bench": "matrix", **asdict(options), "results": results, "worst": worst, "machine": machine()}


def _lower_priority() -> None:
    os.nice(5)


def _figures(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for method, runs in found.items():
        gains = [run["balanced"] - plain["balanced"] for run, plain in zip(runs, found[PLAIN], strict=True)]
        choices = sum((Counter(run["choices"]) for run in runs), Counter[str]())
        yield (
            method,
            {
                "balanced": 100 * statistics.fmean(run["balanced"] for run in runs),
                "points": 100 * statistics.fmean(gains),
                "spread": 100 * (max(gains) - min(gains)),
                "choices": dict(choices),
            },
        )


def play(game: Game) -> dict[str, Any]:
    """Let one federation learn: balanced accuracy, 0..1, and what its clients had chosen in the end."""
    train, test = tables.load_real(game.data, seed=game.seed, most=game.examples)
    shares = planted(train, CELLS[game.cell], game)
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        federation = LocalFederation(
            partial(build, train, game.seed),
            shares,
            Path(folder),
            num_classes=train.num_classes,
            seed=game.seed,
            settings={**LEARNING, "method": game.method},
        )
        recalls: list[np.ndarray] = []

        def look(number: int) -> None:
            if number > game.rounds - LAST:
                confusion = federation.confusion(test)
                recalls.append(confusion.diagonal() / confusion.sum(axis=1))

        federation.run(game.rounds, after=look, alike=True)
        chosen = [
            bytes(c.remembered[AUTO]["line"].tolist()).decode() for c in federation.clients if AUTO in c.remembered
        ]
    return {"balanced": float(np.mean(recalls)), "choices": dict(Counter(chosen))}


def build(train: Dataset, seed: int) -> nn.Module:
    """A perceptron of two layers with seeded weights."""
    import torch
    from torch import nn

    torch.manual_seed(derive(seed, "matrix", "model"))
    inputs = int(np.prod(train.x.shape[1:]))
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(),
        nn.Linear(WIDTH, train.num_classes),
    )  # fmt: skip


def planted(train: Dataset, rough: Roughness, game: Game) -> list[Dataset | Tasks]:
    """What each client holds."""
    rng = generator(game.seed, "matrix", game.data)
    if rough.imbalance > 1:
        order = rng.permutation(train.num_classes).tolist()
        train = train.take(long_tail(train.labels, rough.imbalance, rng, order))
    split, given = ("iid", {}) if rough.alike else ("dirichlet", {"alpha": ALPHA})
    places = PARTITIONERS[split].split(train.labels, game.clients, rng, min_examples=MIN_EXAMPLES, **given)
    shares: list[Dataset | Tasks] = []
    noisy = set(rng.permutation(game.clients)[: round(game.clients * rough.noisy)].tolist()) if rough.rate else set()
    for at, place in enumerate(places):
        share = train.take(place)
        if at in noisy:
            share = mislabelled(
                share, rough.kind, rough.rate, generator(game.seed, "noise", at), NOISE_MAPS.get(game.data)
            )
        if rough.tasks == 1:
            shares.append(share)
            continue
        groups = [group.tolist() for group in task_classes(train.num_classes, rough.tasks)]
        shares.append(tasks_of(share, groups, rounds_per_task=max(1, game.rounds // rough.tasks)))
    return shares


def _line(name: str, figures: Mapping[str, Any]) -> str:
    plain = figures[PLAIN]["balanced"]
    rest = "  ".join(f"{method} {one['points']:+.1f}" for method, one in figures.items() if method != PLAIN)
    chosen = figures.get(AUTO, {}).get("choices", {})
    return f"{name:<58} plain {plain:.1f}  {rest}  {chosen or ''}"


BENCH = Benchmark(MatrixOptions, run_matrix, _line)
