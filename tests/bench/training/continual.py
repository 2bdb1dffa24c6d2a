"""What the methods for data that keep changing do: two class-incremental protocols of five tasks with two classes each.

Both in one process with the trainer's own loop, a round for each task, one pass; the model is asked for all ten classes
and never told the task (but for `packnet`, which cannot do without).

* fashion: 3,000 images a task of Fashion-MNIST, the small CNN (105,866 parameters), batch 32, lr 0.05, no momentum.
* mnist: all of MNIST, a perceptron of two times 100 units with Xavier's initialisation, batch 10, pixels in 0..1: the
  S-MNIST of Buzzega et al. (NeurIPS 2020), with the learning rates and replay settings of its published code.

T tasks, C classes.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from roughfed import models
from roughfed.data import Dataset, load
from roughfed.data.mnist import SET
from roughfed.data.stream import Tasks, tasks_of
from roughfed.deploy.speed.measure import machine
from roughfed.measures import class_incremental
from roughfed.registry import look_up
from roughfed.rng import derive, generator
from tests.bench.command import Benchmark, Seeds, names, row
from tests.bench.harness.federation import LocalFederation

if TYPE_CHECKING:
    from torch import nn

GROUPS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
PER_CLASS = 1500
FASHION, MNIST = "fashion-mnist", "mnist"


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of the tables.

    Attributes:
        method: parts of the training.
        data: FASHION or MNIST, which says the protocol.
        lr: learning rate.
        published: accuracy in the DER paper's table, in points, and its standard deviation; None without one.
    """

    method: str
    data: str = FASHION
    lr: float = 0.05
    published: tuple[float, float] | None = None


# One mean over new and remembered examples, as in the published code, is half of the sum of two means that `er` takes:
# its learning rates are halved here.
CONDITIONS: Mapping[str, Condition] = {
    "fine-tune": Condition("plain"),
    "ewc": Condition("ewc(lambda=1000)"),
    "si": Condition("si"),
    "lwf": Condition("lwf"),
    "a-gem 200": Condition("a-gem"),
    "gem 200": Condition("gem"),
    "er 200": Condition("er"),
    "er 400": Condition("er+reservoir(size=400)"),
    "er 500": Condition("er+reservoir(size=500)"),
    "er-ace 200": Condition("er-ace"),
    "er-ace 500": Condition("er-ace+reservoir(size=500)"),
    "der++ 200": Condition("der++"),
    "der++ 500": Condition("der+++reservoir(size=500)"),
    "der++ strong 200": Condition("der++(alpha=1.0, beta=3.0)"),
    "der++ strong 500": Condition("der++(alpha=1.0, beta=3.0)+reservoir(size=500)"),
    "balanced-softmax+er 200": Condition("balanced-softmax+er"),
    "er 200 herding": Condition("er+herding"),
    "er 200 mosaic": Condition("er+mosaic"),
    "er 200 condensed": Condition("er+condensed"),
    "s-mnist fine-tune": Condition("plain", MNIST, 0.03, (19.60, 0.04)),
    "s-mnist ewc": Condition("ewc(lambda=180)", MNIST, 0.03, (20.46, 1.01)),
    "s-mnist a-gem 200": Condition("a-gem(batch=128)", MNIST, 0.1, (45.72, 4.26)),
    "s-mnist er 200": Condition("er(batch=10)", MNIST, 0.005, (80.43, 1.89)),
    "s-mnist er 500": Condition("er(batch=10)+reservoir(size=500)", MNIST, 0.05, (86.12, 1.89)),
    "s-mnist der++ 200": Condition("der++(batch=128, alpha=0.2, beta=1.0)", MNIST, 0.03, (85.61, 1.40)),
    "s-mnist der++ 500": Condition(
        "der++(batch=10, alpha=1.0, beta=0.5)+reservoir(size=500)", MNIST, 0.03, (91.00, 1.49)
    ),
}


@dataclass(frozen=True, slots=True)
class ContinualOptions:
    """Which trainings, and how often."""

    seeds: Seeds = (0, 1, 2)
    conditions: Annotated[Sequence[str], names("Rows.")] = ()


def run_continual_bench(
    options: ContinualOptions, *, say: Callable[[str, Mapping[str, object]], None]
) -> dict[str, object]:
    """Play every condition with every seed.

    Args:
        options: what to measure.
        say: gets each condition's name and figures as soon as they are there.

    Returns:
        `results`: condition -> figures (see `summed_up`); the seeds and the machine.

    Raises:
        ConfigError: an unknown condition, or its data are not here.
    """
    found: dict[str, object] = {}
    for name in options.conditions or tuple(CONDITIONS):
        condition = look_up(CONDITIONS, name, key="conditions")
        found[name] = one = summed_up(condition, [play(condition, seed=seed) for seed in options.seeds])
        say(name, one)
    return {"bench": "continual", "seeds": list(options.seeds), "results": found, "machine": machine()}


def summed_up(condition: Condition, runs: Sequence[Mapping[str, float]]) -> dict[str, object]:
    """Means over the seeds; `std` of the accuracies, `by_seed` the figures of each, and what was published."""
    means: dict[str, object] = {name: statistics.fmean(run[name] for run in runs) for name in runs[0]}
    accuracies = [run["accuracy"] for run in runs]
    more = {"std": statistics.stdev(accuracies) if len(runs) > 1 else 0.0, "by_seed": [dict(run) for run in runs]}
    return means | more | {"method": condition.method, "published": condition.published}


def play(condition: Condition, *, seed: int) -> dict[str, float]:
    """Train the tasks one after the other and test after each.

    Returns:
        accuracy: mean over the tasks after the last one (ACC), 0..1.
        backward: mean of what each earlier task gained since it was learnt (BWT).
        learnt: mean accuracy of each task right after it.
    """
    stream, test = streamed(condition, seed)
    settings = {"method": condition.method, "lr": condition.lr, "momentum": 0.0, "batch_size": batch_size(condition)}
    recalls: list[tuple[float | None, ...]] = []
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        federation = LocalFederation(
            lambda: build(condition, seed), [stream], Path(folder), num_classes=10, seed=seed, settings=settings
        )

        def after(number: int) -> None:
            seen = [c for group in GROUPS[:number] for c in group]
            table = federation.confusion(test.take(np.flatnonzero(np.isin(test.labels, seen))))
            recalls.append(tuple(float(row[c] / row.sum()) if row.sum() else 0.0 for c, row in enumerate(table)))

        federation.run(len(GROUPS), after=after)
    matrix = class_incremental(recalls, GROUPS)
    return {
        "accuracy": matrix.accuracy or 0.0,
        "backward": matrix.backward_transfer or 0.0,
        "learnt": matrix.plasticity or 0.0,
    }


def streamed(condition: Condition, seed: int) -> tuple[Tasks, Dataset]:
    """(the training examples as a stream, a task for each round; the whole test part).

    Raises:
        ConfigError: the data are not here.
    """
    train, test = whole(condition.data)
    if condition.data == FASHION:
        rng = generator(seed, "continual", "examples")
        places = [rng.permutation(np.flatnonzero(train.labels == c))[:PER_CLASS] for c in range(train.num_classes)]
        train = train.take(np.sort(np.concatenate(places)))
    return tasks_of(train, GROUPS, rounds_per_task=1), test


@cache
def whole(data: str) -> tuple[Dataset, Dataset]:
    """(train, test) of a source; MNIST's pixels in 0..1, as the protocol has them."""
    parts = load(data)
    if data != MNIST:
        return parts
    train, test = (replace(part, x=part.x * np.float32(SET.std) + np.float32(SET.mean)) for part in parts)
    return train, test


def batch_size(condition: Condition) -> int:
    """Examples a step."""
    return 10 if condition.data == MNIST else 32


def build(condition: Condition, seed: int) -> nn.Module:
    """The network of the protocol, with seeded weights."""
    if condition.data == FASHION:
        return models.build("cnn-small", (1, 28, 28), 10, seed)
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "continual", "model"))
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)
        )
        for layer in net:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
        return net


BENCH = Benchmark(ContinualOptions, run_continual_bench, row("accuracy", "std", "backward", "learnt"))
