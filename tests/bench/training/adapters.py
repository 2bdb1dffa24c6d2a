"""What low-rank adapters on a pretrained model cost in accuracy, and save in bytes.

Fashion-MNIST: a perceptron is pretrained in one place on some classes, and a federation then learns the others (whose
test images are asked for), each client its Dirichlet share: all of the model, or adapters beside a head that is trained
whole, or that head alone. The server's own division of the model, the trainer's own loop, ten clients in one process,
sums without masks. An update's bytes are those of its float32 parameters; masks and codec take the same share off all.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from roughfed import models
from roughfed.config.federation import FederationConfig
from roughfed.data import Dataset, load
from roughfed.data.partition import PARTITIONERS
from roughfed.deploy.speed.measure import machine
from roughfed.params import read_flat, write_model
from roughfed.registry import look_up
from roughfed.rng import generator
from roughfed.server.model.frozen import FILE, divide, lay
from roughfed.trainer_client import Description
from roughfed.training import BaseFile, Turn
from roughfed.types import Spec
from tests.bench.command import Benchmark, Seeds, names, row
from tests.bench.harness.federation import LocalFederation, unheard

if TYPE_CHECKING:
    from torch import nn

KNOWN, NEW = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)
"""Classes that the model is pretrained on, and classes that the federation learns."""

CLIENTS, EXAMPLES, ALPHA, MIN_EXAMPLES = 10, 4000, 0.5, 10
PRETRAINED, EPOCHS = 6000, 5
MODEL, HEAD, CLASSES = "mlp", "fc3.*", 10
LEARNING = {"epochs": 1, "batch_size": 32, "lr": 0.05, "momentum": 0.9}

CONDITIONS: Mapping[str, Mapping[str, object]] = {
    "full training": {},
    "adapters, r = 8": {"adapters": 8, "train": [HEAD]},
    "adapters, r = 4": {"adapters": 4, "train": [HEAD]},
    "adapters, r = 8, A frozen": {"adapters": 8, "adapter_alpha": 24.0, "train": [HEAD], "train_a": False},
    "head alone": {"frozen": ["fc1.*", "fc2.*"]},
}
"""[model] of fed.toml by name."""


@dataclass(frozen=True, slots=True)
class AdapterOptions:
    """Which federations learn."""

    seeds: Seeds = (0, 1, 2)
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each federation.")] = 20
    conditions: Annotated[Sequence[str], names("Rows.")] = ()


def run_adapter_bench(
    options: AdapterOptions, *, say: Callable[[str, Mapping[str, object]], None] | None = None
) -> dict[str, object]:
    """Play every condition; `say` hears of each when it is done."""
    names = options.conditions or list(CONDITIONS)
    rows: dict[str, dict[str, object]] = {}
    for name in names:
        condition = look_up(CONDITIONS, name, key="--conditions")
        runs = [play(condition, seed=seed, rounds=options.rounds) for seed in options.seeds]
        found = [accuracy for accuracy, _ in runs]
        rows[name] = {
            "accuracy": statistics.fmean(found),
            "spread": statistics.pstdev(found),
            "upload_bytes": runs[0][1],
        }
        if say is not None:
            say(name, rows[name])
    return {"machine": machine(), "rounds": options.rounds, "seeds": len(options.seeds), "rows": rows}


def play(model: Mapping[str, object], *, seed: int, rounds: int) -> tuple[float, int]:
    """One federation after the pretraining.

    Args:
        model: [model] of fed.toml.
        seed: of everything.
        rounds: of the federation.

    Returns:
        (accuracy on the test images of the new classes, 0..1; bytes of an update).
    """
    train, test = load("fashion-mnist")
    new = of_tiers(train, NEW, seed, EXAMPLES)
    places = PARTITIONERS["dirichlet"].split(
        new.labels, CLIENTS, generator(seed, "adapters", "partition"), min_examples=MIN_EXAMPLES, alpha=ALPHA
    )
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        pretrained = folder / "init.safetensors"
        pretrain(of_tiers(train, KNOWN, seed, PRETRAINED), pretrained, seed)
        federation = LocalFederation(
            lambda: build(model, pretrained, folder, seed),
            [new.take(at) for at in places],
            folder,
            num_classes=CLASSES,
            seed=seed,
            settings=LEARNING,
        )
        federation.run(rounds)
        asked = test.take(np.flatnonzero(np.isin(test.labels, NEW)))
        return float((federation.predict(asked.x) == asked.labels).mean()), 4 * federation.params.size


def of_tiers(data: Dataset, classes: Sequence[int], seed: int, count: int) -> Dataset:
    """Some examples of some classes, drawn for a seed."""
    there = np.flatnonzero(np.isin(data.labels, classes))
    order = generator(seed, "adapters", "examples", classes[0]).permutation(len(there))
    return data.take(np.sort(there[order[:count]]))


def pretrain(data: Dataset, path: Path, seed: int) -> None:
    """Train a fresh model on some data in one place, and write it as a model file."""
    import torch

    from roughfed.client.trainer.examples.batches import open_source
    from roughfed.client.trainer.model.tensors import pieces, spec_of
    from roughfed.client.trainer.settings import TrainerSettings
    from roughfed.client.trainer.training.loop import Work, fit

    torch.set_num_threads(1)
    model = fresh(seed)
    write_model(path, spec_of(model), pieces(model))
    source = open_source((data.x, data.labels), torch.device("cpu"), torch.float32)
    settings = TrainerSettings.parse({**LEARNING, "epochs": EPOCHS})
    fit(model, source, Work(path, path.with_suffix(".delta"), settings, seed, Turn(1), CLASSES), report=unheard)
    write_model(path, spec_of(model), pieces(model))


def fresh(seed: int) -> nn.Module:
    """The model before any training."""
    return models.build(MODEL, (1, 28, 28), CLASSES, seed)


def build(settings: Mapping[str, object], pretrained: Path, folder: Path, seed: int) -> nn.Module:
    """The pretrained model as a client has it: divided as the server does, and put on its base."""
    from roughfed.client.trainer.model.adapters import adaptable, stand_on
    from roughfed.client.trainer.model.tensors import load_flat, spec_of

    model = fresh(seed)
    whole = spec_of(model)
    described = Description(whole, "classification", 1, 1, CLASSES, "cpu", MODEL, {}, adaptable=tuple(adaptable(model)))
    division = divide(described, FederationConfig.model_validate({"model": dict(settings)}))
    weights = folder / "weights.safetensors"
    weights.write_bytes(pretrained.read_bytes())
    _, base = lay(division, weights, whole, folder=folder, seed=seed)
    if base is not None:
        stand_on(model, BaseFile(folder / FILE, base.scale), division.shared.tensors)
    names = {t.name for t in division.shared.tensors}
    load_flat(model, Spec(tuple(t for t in spec_of(model).tensors if t.name in names)), np.array(read_flat(weights)))
    return model


BENCH = Benchmark(AdapterOptions, run_adapter_bench, row(width=28))
