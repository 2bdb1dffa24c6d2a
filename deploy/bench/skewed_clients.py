"""Clients of whom a few are unlike the others and hard to serve: Fashion-MNIST, dealt out for the fairness bench.

Most clients have nine of the ten classes alike and hardly a shirt. A few have shirts above all, beside what shirts are
taken for (T-shirts, pullovers, dresses, coats): one model for all would rather say "T-shirt" than serve them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roughfed import models
from roughfed.data import Dataset, load
from roughfed.deploy.attack.poison.labels import Wrong
from roughfed.deploy.bench.local import LocalFederation
from roughfed.errors import ConfigError
from roughfed.params import Flat
from roughfed.rng import generator

if TYPE_CHECKING:
    from roughfed.client.trainer.evaluation.evaluate import Sums
    from roughfed.client.trainer.examples.batches import Source

SHIRT, LIKE_SHIRTS = 6, (0, 2, 3, 4)
FEW, MANY = 0.15, 8.0
"""Shirts of a client of the majority, relative to each of its other classes; of the minority, to each like them."""


@dataclass(frozen=True, slots=True)
class SkewOptions:
    """Who learns what.

    Attributes:
        clients: K.
        minority: how many of them are unlike the others.
        train: examples of each client to train on.
        held_out: to find its loss on, by which it is weighed.
        test: to find its accuracy on, which is what counts.
        model: a listed model.
        lr: local learning rate.
        lr_decay: what it is multiplied by from round to round.
    """

    clients: int = 20
    minority: int = 3
    train: int = 150
    held_out: int = 60
    test: int = 200
    model: str = "mlp"
    lr: float = 0.03
    lr_decay: float = 0.96


class SkewedClients:
    """K clients with three parts of data each, all in this process; the first ones are the minority."""

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
        flip, classes = Wrong("flip"), whole.num_classes
        shares = [
            replace(t, y=flip.labels(t.labels, classes, None)) if number in hostile else t
            for number, (t, _, _) in enumerate(parts)
        ]
        self._federation = LocalFederation(
            lambda: models.build(options.model, whole.input_shape, classes, seed),
            shares,
            folder,
            num_classes=classes,
            seed=seed,
            settings={"batch_size": 32, "lr": options.lr, "lr_decay": options.lr_decay},
        )
        self.names = [client.name for client in self._federation.clients]
        self.minority = self.names[: options.minority]
        self._held_out = {name: opened(part) for name, (_, part, _) in zip(self.names, parts, strict=True)}
        self._test = {name: opened(part) for name, (_, _, part) in zip(self.names, parts, strict=True)}

    @property
    def params(self) -> Flat:
        """The global parameters, float32 [D]."""
        return self._federation.params

    @params.setter
    def params(self, values: Flat) -> None:
        self._federation.params = values

    def deltas(self, number: int, rounds: int) -> Mapping[str, Flat]:
        """Every client's update of a round, float32 [D]."""
        return {client.name: self._federation.delta(client, number, rounds) for client in self._federation.clients}

    def losses(self) -> dict[str, float]:
        """Each client's mean loss on what it holds out, under the global parameters."""
        found = {name: self._evaluated(source) for name, source in self._held_out.items()}
        return {name: sums.loss_sum / sums.num_examples for name, sums in found.items()}

    def accuracies(self) -> dict[str, float]:
        """Each client's accuracy on its test part, 0 to 1."""
        found = {name: self._evaluated(source) for name, source in self._test.items()}
        return {name: sum(sums.class_correct) / sums.num_examples for name, sums in found.items()}

    def _evaluated(self, source: Source) -> Sums:
        from roughfed.client.trainer.evaluation.evaluate import evaluate
        from roughfed.client.trainer.model.tensors import load_flat, spec_of

        model = self._federation.model
        load_flat(model, spec_of(model), self._federation.params)
        return evaluate(model, source, "classification", report=lambda _share: None)


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


def opened(data: Dataset) -> Source:
    """As the trainer's loop reads it."""
    import torch

    from roughfed.client.trainer.examples.batches import open_source

    return open_source((data.x, data.labels), torch.device("cpu"), torch.float32)
