"""What SCAFFOLD makes of clients that are unlike one another: `python -m roughfed.deploy.bench.drift [--seeds N]`.

Fashion-MNIST, tested on its 10,000 test images; 10 clients that take part in every round and count alike, in one
process with the trainer's own loop and the server's own arithmetic, without masks. A perceptron of 256 units (203,530
parameters), 6,000 images, batches of 32, five local epochs a round, 20 rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roughfed.data import load
from roughfed.data.partition import PARTITIONERS
from roughfed.deploy.bench.local import LocalFederation
from roughfed.deploy.bench.measure import machine
from roughfed.rng import derive, generator

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
            rounds, alike=True, after=lambda _: found.append(float((federation.predict(test) == test.labels).mean()))
        )
    return found


def perceptron(seed: int) -> nn.Module:
    """784-256-10."""
    import torch
    from torch import nn

    torch.manual_seed(derive(seed, "model"))
    return nn.Sequential(nn.Flatten(), nn.Linear(784, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))


def main() -> None:
    """Print a JSON object: by condition the accuracy after the last round and the mean of all rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="beginning of the conditions' names")
    arguments = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    for name, condition in CONDITIONS.items():
        if not name.startswith(arguments.only):
            continue
        runs = [play(condition, seed=seed, rounds=arguments.rounds) for seed in range(arguments.seeds)]
        last, spread = [run[-1] for run in runs], [statistics.fmean(run) for run in runs]
        rows[name] = {
            "last": statistics.fmean(last),
            "spread": statistics.pstdev(last),
            "mean_of_rounds": statistics.fmean(spread),
        }
        print(json.dumps({name: rows[name]}), flush=True)
    print(json.dumps({"machine": machine(), "seeds": arguments.seeds, "rows": rows}))


if __name__ == "__main__":
    main()
