"""What the methods for wrong labels do: accuracy after the last epoch, and how many wrong labels were learnt by heart.

6,000 images of Fashion-MNIST, 600 of each class, a perceptron of 256 units (203,530 parameters), 30 epochs of SGD with
lr 0.05 and momentum 0.9, batch 64, no schedule and no early stop; in one process with the trainer's own loop. Tested on
the 10,000 test images with their right labels.

* symmetric: 40 % of the labels are those of any other class.
* asymmetric: 40 % of five classes are labelled as the class that each is taken for, 20 % of all.
* clean: no label is wrong; what a method costs where it is not needed.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from roughfed.data import Dataset, load
from roughfed.data.rough import mislabelled
from roughfed.deploy.speed.measure import machine
from roughfed.registry import look_up
from roughfed.rng import generator
from tests.bench.command import Benchmark, Seeds, names, row
from tests.bench.harness.federation import LocalFederation

if TYPE_CHECKING:
    from torch import nn

DATA = "fashion-mnist"
PER_CLASS, RATE = 600, 0.4
TAKEN_FOR = {0: 6, 2: 4, 5: 7, 3: 1, 9: 7}
"""T-shirt as shirt, pullover as coat, sandal and boot as sneaker, dress as trouser."""

SETTINGS: Mapping[str, object] = {"epochs": 30, "batch_size": 64, "lr": 0.05, "momentum": 0.9}
_FLIPS = ".".join(f"{true}-{label}" for true, label in TAKEN_FOR.items())
KNOWN = {
    "symmetric": f"forward-correction(t=symmetric, rate={RATE})",
    "asymmetric": f"forward-correction(t=flips, flips={_FLIPS}, rate={RATE})",
    "clean": "plain",
}
"""What is written where the noise is known."""

METHODS: Mapping[str, str] = {
    "plain": "plain",
    "gce": "gce",
    "gce+weight-average": "gce+weight-average",
    "sce": "sce",
    "elr": "elr",
    "forward-correction, T known": "",
    "forward-correction(t=anchor)": "forward-correction(t=anchor)",
    "forward-correction": "forward-correction",
    "forward-correction+weight-average": "forward-correction+weight-average",
    "backward-correction": "backward-correction",
    "dual-t": "dual-t",
    "volminnet": "volminnet",
    "small-loss": "small-loss",
    "co-teaching": "co-teaching",
    "jocor": "jocor",
    "divide-mix": "divide-mix",
    "noisy": "noisy",
}
"""Row -> method; empty: that of KNOWN."""

KINDS = tuple(KNOWN)


@dataclass(frozen=True, slots=True)
class NoisyOptions:
    """Which trainings, on which labels, and how often."""

    seeds: Seeds = (0, 1, 2)
    methods: Annotated[Sequence[str], names("Rows, or methods as they are written.")] = ()
    kinds: Annotated[Sequence[str], names("symmetric, asymmetric, clean.")] = KINDS


def run_noisy_bench(options: NoisyOptions, *, say: Callable[[str, Mapping[str, object]], None]) -> dict[str, object]:
    """Play every method with every kind of noise and every seed.

    Args:
        options: what to measure.
        say: gets "kind method" and its figures as soon as they are there.

    Returns:
        `results`: kind -> row -> figures (see `summed_up`); the seeds and the machine.

    Raises:
        ConfigError: an unknown kind or method, or Fashion-MNIST is not here.
    """
    found: dict[str, dict[str, object]] = {}
    for kind in options.kinds:
        look_up(KNOWN, kind, key="kinds")
        for name in options.methods or tuple(METHODS):
            runs = [play(name, kind, seed=seed) for seed in options.seeds]
            found.setdefault(kind, {})[name] = one = summed_up(runs)
            say(f"{kind:<10} {name}", one)
    return {"bench": "noisy", "seeds": list(options.seeds), "results": found, "machine": machine()}


def summed_up(runs: Sequence[Mapping[str, float]]) -> dict[str, object]:
    """Means over the seeds, 0..1; `spread`: largest minus smallest accuracy; `by_seed` the figures of each."""
    means: dict[str, object] = {name: statistics.fmean(run[name] for run in runs) for name in runs[0]}
    accuracy = [run["accuracy"] for run in runs]
    return means | {"spread": max(accuracy) - min(accuracy), "by_seed": [dict(run) for run in runs]}


def play(name: str, kind: str, *, seed: int) -> dict[str, float]:
    """Train by one method and test.

    Returns:
        `accuracy` on the test images; `memorised_wrong`: share of the wrong training labels that the model gives, 0
        where none is wrong. Both 0..1.
    """
    train, test = planted(kind, seed)
    method = METHODS.get(name, name) or KNOWN[kind]
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        federation = LocalFederation(
            lambda: build(seed),
            [train],
            Path(folder),
            num_classes=train.num_classes,
            seed=seed,
            settings={**SETTINGS, "method": method},
        )
        federation.run(1)
        right = federation.predict(test.x) == test.labels
        given = federation.predict(train.x) == train.labels
    wrong = train.labels != train.true_y
    return {"accuracy": float(right.mean()), "memorised_wrong": float(given[wrong].mean()) if wrong.any() else 0.0}


def planted(kind: str, seed: int) -> tuple[Dataset, Dataset]:
    """(train with wrong labels, the whole test part).

    Raises:
        ConfigError: Fashion-MNIST is not here.
    """
    whole, test = load(DATA)
    rng = generator(seed, "noisy", "examples")
    each = [rng.permutation(np.flatnonzero(whole.labels == c))[:PER_CLASS] for c in range(whole.num_classes)]
    train = whole.take(np.sort(np.concatenate(each)))
    how, rate = ("symmetric", 0.0) if kind == "clean" else (kind, RATE)
    return mislabelled(train, how, rate, generator(seed, "noisy", "labels"), TAKEN_FOR), test


def build(seed: int) -> nn.Module:
    """The network of the protocol, with seeded weights."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


BENCH = Benchmark(NoisyOptions, run_noisy_bench, row("accuracy", "memorised_wrong", "spread"))
