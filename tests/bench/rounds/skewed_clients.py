"""Clients of whom a few are unlike the others and hard to serve: Fashion-MNIST, dealt out for the fairness bench.

Most clients have nine of the ten classes alike and hardly a shirt. A few have shirts above all, beside what shirts are
taken for (T-shirts, pullovers, dresses, coats): one model for all would rather say "T-shirt" than serve them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from roughfed import models
from roughfed.data import Dataset, load
from roughfed.deploy.attack.poison.labels import LabelPoison
from roughfed.errors import ConfigError
from roughfed.params import Flat
from roughfed.rng import generator
from tests.bench.harness.federation import LocalFederation, accuracy_of, opened

SHIRT, LIKE_SHIRTS = 6, (0, 2, 3, 4)
FEW, MANY = 0.15, 8.0
"""Shirts of a client of the majority, relative to each of its other classes; of the minority, to each like them."""


@dataclass(frozen=True, slots=True)
class SkewOptions:
    """Who learns what."""

    clients: Annotated[int, typer.Option(min=8, help="Clients, all in one process.")] = 20
    minority: Annotated[int, typer.Option(min=1, help="How many of them are unlike the others.")] = 3
    train: Annotated[int, typer.Option(min=1, help="Examples of each client to train on.")] = 150
    held_out: Annotated[int, typer.Option(min=1, help="To find its loss on, by which it is weighed.")] = 60
    test: Annotated[int, typer.Option(min=1, help="To find its accuracy on, which is what counts.")] = 200
    model: Annotated[str, typer.Option(help="A listed model.")] = "mlp"
    lr: Annotated[float, typer.Option(help="Local learning rate.")] = 0.03
    lr_decay: Annotated[float, typer.Option(help="What it is multiplied by from round to round.")] = 0.96


class SkewedClients(LocalFederation):
    """K clients with three parts of data each; the first ones are the minority.

    Attributes:
        minority: names.
        lr: local learning rate.
    """

    def __init__(self, options: SkewOptions, *, seed: int, folder: Path, hostile: frozenset[int]) -> None:
        """Deal out the data, and flip the labels that the hostile ones train on.

        Args:
            options: who learns what.
            seed: of the deal, the weights and every local training.
            folder: for the files that the trainer's loop reads and writes.
            hostile: numbers of the clients whose training labels are flipped.

        Raises:
            ConfigError: no data here, or too few for so many clients.
        """
        whole, _ = load("fashion-mnist")
        parts = dealt(whole, options, seed)
        flip, classes = LabelPoison("flip"), whole.num_classes
        shares = [
            replace(t, y=flip.labels(t.labels, classes, None)) if number in hostile else t
            for number, (t, _, _) in enumerate(parts)
        ]
        super().__init__(
            lambda: models.build(options.model, whole.input_shape, classes, seed),
            shares,
            folder,
            num_classes=classes,
            seed=seed,
            settings={"batch_size": 32, "lr": options.lr, "lr_decay": options.lr_decay},
        )
        self.minority, self.lr = self.names[: options.minority], options.lr
        self._held_out = {name: opened(part) for name, (_, part, _) in zip(self.names, parts, strict=True)}
        self._test = {name: opened(part) for name, (_, _, part) in zip(self.names, parts, strict=True)}

    def deltas(self, number: int, rounds: int) -> Mapping[str, Flat]:
        """Every client's update of a round, float32 [D]."""
        self.hand_out(self.params)
        return {client.name: self.delta(client, number, rounds) for client in self.clients}

    def losses(self) -> dict[str, float]:
        """Each client's mean loss on what it holds out, under the global parameters."""
        found = {name: self.evaluated(source) for name, source in self._held_out.items()}
        return {name: sums.loss_sum / sums.num_examples for name, sums in found.items()}

    def accuracies(self) -> dict[str, float]:
        """Each client's accuracy on its test part, 0 to 1."""
        return {name: accuracy_of(self.evaluated(source)) for name, source in self._test.items()}


def dealt(whole: Dataset, options: SkewOptions, seed: int) -> list[tuple[Dataset, Dataset, Dataset]]:
    """Each client's examples to train on, to hold out and to test on; no example belongs to two.

    Raises:
        ConfigError: nobody but the minority, or more examples wanted of a class than there are.
    """
    if not 0 < options.minority < options.clients:
        cause = f"{options.minority} of {options.clients} clients are no minority"
        raise ConfigError(cause, key="--minority", cure=f"give 1 to {options.clients - 1}")
    rng = generator(seed, "fairness", "deal")
    left = {c: rng.permutation(np.flatnonzero(whole.labels == c)).tolist() for c in range(whole.num_classes)}
    most, few = np.ones(whole.num_classes), np.zeros(whole.num_classes)
    most[SHIRT], few[SHIRT], few[list(LIKE_SHIRTS)] = FEW, MANY, 1.0

    def draw(shares: np.ndarray, count: int) -> Dataset:
        taken: list[int] = []
        for c, wanted in enumerate(rng.multinomial(count, shares / shares.sum())):
            if wanted > len(left[c]):
                raise ConfigError(f"no more examples of class {c}", key="--clients", cure="give fewer clients")
            taken += left[c][:wanted]
            del left[c][:wanted]
        return whole.take(np.array(taken))

    sizes = (options.train, options.held_out, options.test)
    kinds = [few if number < options.minority else most for number in range(options.clients)]
    return [(draw(kind, sizes[0]), draw(kind, sizes[1]), draw(kind, sizes[2])) for kind in kinds]
