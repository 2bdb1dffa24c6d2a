"""What the methods for long tails do: balanced, tail and worst-class accuracy on Fashion-MNIST with a tail of 1 to 100.

Two protocols, both in one process with the trainer's own loop, tested on the 10,000 balanced test images. The classes
are in reversed order: in the natural one the tail is easy, which hides the problem.

* central: 14,886 images, the small CNN (105,866 parameters), 8 epochs, batch 128, lr 0.05 along a cosine, momentum 0.9.
* federated: the same images, 10 clients, Dirichlet(0.5), a perceptron of 256 units (203,530 parameters), 30 rounds of
  one epoch, batch 64, lr 0.05 * 0.98^r, momentum 0.9; all clients count alike, as in masked rounds,
  and sums are plain, since masks change no sum.

C classes.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from roughfed import models
from roughfed.data import Dataset, load
from roughfed.data.partition import PARTITIONERS
from roughfed.data.rough import long_tail
from roughfed.deploy.speed.measure import machine
from roughfed.measures import mean, shots_by_rank
from roughfed.registry import look_up
from roughfed.rng import generator
from tests.bench.command import Benchmark, Seeds, names, row
from tests.bench.harness.federation import LocalFederation

if TYPE_CHECKING:
    from torch import nn

DATA = "fashion-mnist"
IMBALANCE = 100
CLIENTS, ALPHA, MIN_EXAMPLES = 10, 0.5, 10
CENTRAL_EPOCHS, ROUNDS = 8, 30
CENTRAL: Mapping[str, object] = {"batch_size": 128, "lr": 0.05, "momentum": 0.9, "schedule": "cosine"}
FEDERATED: Mapping[str, object] = {"batch_size": 64, "lr": 0.05, "momentum": 0.9, "lr_decay": 0.98}


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of the tables.

    Attributes:
        method: parts of the training.
        federated: which protocol.
        experts: heads of the model.
        prior: local or global class shares.
    """

    method: str
    federated: bool = False
    experts: int = 1
    prior: str = "local"


CONDITIONS: Mapping[str, Condition] = {
    "plain": Condition("plain"),
    "instance": Condition("instance"),
    "class-balanced-sampling": Condition("class-balanced-sampling"),
    "square-root-sampling": Condition("square-root-sampling"),
    "progressive-sampling": Condition("progressive-sampling"),
    "class-balanced": Condition("class-balanced"),
    "drw": Condition("drw"),
    "focal": Condition("focal"),
    "ldam+drw": Condition("ldam"),
    "balanced-softmax": Condition("balanced-softmax"),
    "logit-adjustment(post-hoc=true)": Condition("logit-adjustment(post-hoc=true)"),
    "mixup": Condition("mixup"),
    "remix": Condition("remix"),
    "cutmix": Condition("cutmix"),
    "cmo": Condition("cmo"),
    "crt": Condition("crt"),
    "tau-norm": Condition("tau-norm"),
    "ride, 3 experts": Condition("ride", experts=3),
    "sade, 3 experts": Condition("sade", experts=3),
    "balanced-softmax+cmo": Condition("balanced-softmax+cmo"),
    "balanced-softmax+crt": Condition("balanced-softmax+crt"),
    "balanced-softmax+mixup(alpha=0.2)": Condition("balanced-softmax+mixup(alpha=0.2)"),
    "balanced-softmax+cutmix": Condition("balanced-softmax+cutmix"),
    "balanced-softmax+remix": Condition("balanced-softmax+remix"),
    "long-tail": Condition("long-tail"),
    "federated plain": Condition("plain", federated=True),
    "federated balanced-softmax, local prior": Condition("balanced-softmax", federated=True),
    "federated balanced-softmax, global prior": Condition("balanced-softmax", federated=True, prior="global"),
    "federated post-hoc, global prior": Condition("logit-adjustment(post-hoc=true)", federated=True, prior="global"),
    "federated balanced-softmax+mixup(alpha=0.2)": Condition("balanced-softmax+mixup(alpha=0.2)", federated=True),
    "federated balanced-softmax+crt": Condition("balanced-softmax+crt", federated=True),
    "federated crt": Condition("crt", federated=True),
    "federated long-tail": Condition("long-tail", federated=True),
}


@dataclass(frozen=True, slots=True)
class LongTailOptions:
    """Which trainings, and how often."""

    seeds: Seeds = (0, 1, 2)
    conditions: Annotated[Sequence[str], names("Rows.")] = ()


def run_long_tail_bench(
    options: LongTailOptions, *, say: Callable[[str, Mapping[str, object]], None]
) -> dict[str, object]:
    """Play every condition with every seed.

    Args:
        options: what to measure.
        say: gets each condition's name and figures as soon as they are there.

    Returns:
        `results`: condition -> figures (see `summed_up`); the seeds and the machine.
    """
    found: dict[str, object] = {}
    for name in options.conditions or tuple(CONDITIONS):
        condition = look_up(CONDITIONS, name, key="conditions")
        found[name] = one = summed_up([play(condition, seed=seed) for seed in options.seeds])
        say(name, one)
    return {"bench": "long-tail", "seeds": list(options.seeds), "results": found, "machine": machine()}


def summed_up(runs: Sequence[Mapping[str, float]]) -> dict[str, object]:
    """Means over the seeds, 0..1; `spread`: largest minus smallest balanced accuracy; `by_seed` the figures of each."""
    means: dict[str, object] = {name: statistics.fmean(run[name] for run in runs) for name in runs[0]}
    balanced = [run["balanced"] for run in runs]
    return means | {"spread": max(balanced) - min(balanced), "by_seed": [dict(run) for run in runs]}


def play(condition: Condition, *, seed: int) -> dict[str, float]:
    """Train by one condition and test: balanced, head, medium, tail and worst recall, each 0..1."""
    train, test = tailed(seed)
    counts = np.bincount(train.labels, minlength=train.num_classes)
    settings = {**(FEDERATED if condition.federated else CENTRAL), "method": condition.method, "prior": condition.prior}
    shares = divided(train, seed) if condition.federated else [train]
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        federation = LocalFederation(
            lambda: build(condition, train, seed),
            shares,
            Path(folder),
            num_classes=train.num_classes,
            seed=seed,
            settings=settings,
        )
        if condition.prior == "global":
            federation.facts = {"class-prior": [float(n) / len(train) for n in counts]}
        federation.run(ROUNDS if condition.federated else CENTRAL_EPOCHS, alike=True)
        table = federation.confusion(test)
    recall = table.diagonal() / table.sum(axis=1)
    shots = shots_by_rank([int(n) for n in counts])
    groups = {"head": shots.head, "medium": shots.medium, "tail": shots.tail}
    means = {name: mean(float(recall[c]) for c in group) or 0.0 for name, group in groups.items()}
    return {"balanced": float(recall.mean()), **means, "worst": float(recall.min())}


def tailed(seed: int) -> tuple[Dataset, Dataset]:
    """(train with a long tail, the whole test part).

    Raises:
        ConfigError: Fashion-MNIST is not here.
    """
    whole, test = load(DATA)
    order = list(reversed(range(whole.num_classes)))
    return whole.take(long_tail(whole.labels, IMBALANCE, generator(seed, "long-tail", "examples"), order)), test


def divided(train: Dataset, seed: int) -> list[Dataset]:
    """What each client of the federated protocol holds."""
    rng = generator(seed, "long-tail", "partition")
    parts = PARTITIONERS["dirichlet"].split(train.labels, CLIENTS, rng, min_examples=MIN_EXAMPLES, alpha=ALPHA)
    return [train.take(part) for part in parts]


def build(condition: Condition, train: Dataset, seed: int) -> nn.Module:
    """The network of the protocol, with seeded weights."""
    if not condition.federated:
        return models.build("cnn-small", train.input_shape, train.num_classes, seed, experts=condition.experts)
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, train.num_classes))


BENCH = Benchmark(LongTailOptions, run_long_tail_bench, row("balanced", "tail", "worst", "spread"))
