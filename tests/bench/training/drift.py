"""What SCAFFOLD makes of clients that are unlike one another.

Fashion-MNIST, tested on its 10,000 test images; 10 clients that take part in every round and count alike, in one
process with the trainer's own loop and the server's own arithmetic, without masks. A perceptron of 256 units (203,530
parameters), 6,000 images, batches of 32, five local epochs a round, 20 rounds.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from roughfed.data import load
from roughfed.data.partition import PARTITIONERS
from roughfed.deploy.speed.measure import machine
from roughfed.registry import look_up
from roughfed.rng import derive, generator
from tests.bench.command import Benchmark, Seeds, names, row
from tests.bench.harness.federation import LocalFederation

if TYPE_CHECKING:
    from torch import nn

CLIENTS, IMAGES, WIDTH, EPOCHS, ROUNDS = 10, 6000, 256, 5, 20
MIN_EXAMPLES = 10
STEPS = IMAGES // CLIENTS // 32 * EPOCHS


@dataclass(frozen=True, slots=True)
class Condition:
    """One row.

    Attributes:
        method: parts of the training.
        alpha: of the Dirichlet distribution by which classes are dealt out.
        lr: of the local steps.
        momentum: the same.
    """

    method: str
    alpha: float
    lr: float
    momentum: float


CONDITIONS: Mapping[str, Condition] = {
    f"Dirichlet({alpha}), momentum {momentum}, {method.partition('(')[0]}": Condition(method, alpha, lr, momentum)
    for alpha in (0.1, 0.5)
    for momentum, lr in ((0.0, 0.05), (0.9, 0.01))
    for method in ("plain", f"scaffold(steps={STEPS})")
}


@dataclass(frozen=True, slots=True)
class DriftOptions:
    """Which federations learn."""

    seeds: Seeds = (0, 1, 2)
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each federation.")] = ROUNDS
    conditions: Annotated[Sequence[str], names("Rows.")] = ()


def play(condition: Condition, *, seed: int, rounds: int = ROUNDS) -> list[float]:
    """Accuracy after each round, 0..1."""
    whole, test = load("fashion-mnist")
    train = whole.take(np.sort(generator(seed, "drift", "examples").permutation(len(whole))[:IMAGES]))
    rng, dirichlet = generator(seed, "drift", "partition"), PARTITIONERS["dirichlet"]
    places = dirichlet.split(train.labels, CLIENTS, rng, min_examples=MIN_EXAMPLES, alpha=condition.alpha)
    settings = {
        "method": condition.method,
        "epochs": EPOCHS,
        "batch_size": 32,
        "lr": condition.lr,
        "momentum": condition.momentum,
    }
    with tempfile.TemporaryDirectory() as folder:
        federation = LocalFederation(
            lambda: perceptron(seed),
            [train.take(at) for at in places],
            Path(folder),
            num_classes=10,
            seed=seed,
            settings=settings,
        )
        found: list[float] = []
        federation.run(
            rounds, alike=True, after=lambda _: found.append(float((federation.predict(test.x) == test.labels).mean()))
        )
    return found


def perceptron(seed: int) -> nn.Module:
    """784-256-10."""
    import torch
    from torch import nn

    torch.manual_seed(derive(seed, "model"))
    return nn.Sequential(nn.Flatten(), nn.Linear(784, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))


def run_drift_bench(options: DriftOptions, *, say: Callable[[str, Mapping[str, object]], None]) -> dict[str, object]:
    """Train clients that are unlike one another with and without SCAFFOLD.

    The trainer's own loop and the server's own arithmetic, ten clients in one process, without masks.

    Args:
        options: what to measure.
        say: gets each row's name and figures as soon as they are there.

    Returns:
        `results`: row -> accuracy after the last round, its deviation over the seeds, and the mean of all rounds.
    """
    rows: dict[str, dict[str, float]] = {}
    for name in options.conditions or tuple(CONDITIONS):
        condition = look_up(CONDITIONS, name, key="--conditions")
        runs = [play(condition, seed=seed, rounds=options.rounds) for seed in options.seeds]
        last = [run[-1] for run in runs]
        rows[name] = {
            "last": statistics.fmean(last),
            "spread": statistics.pstdev(last),
            "mean_of_rounds": statistics.fmean(statistics.fmean(run) for run in runs),
        }
        say(name, rows[name])
    return {"bench": "drift", **asdict(options), "results": rows, "machine": machine()}


BENCH = Benchmark(DriftOptions, run_drift_bench, row())
