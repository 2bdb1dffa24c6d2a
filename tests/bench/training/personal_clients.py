"""Clients with distributions of their own: each keeps its data, its state and its test part.

The division is PFLlib's (Zhang et al., JMLR 2025): all images, train and test part alike, are dealt out by Dirichlet
shares, and each client's are cut into 3/4 to train on and 1/4 to test on. K clients, D parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from roughfed import models
from roughfed.data import load
from roughfed.data.dataset import Dataset, concatenate
from roughfed.data.partition import PARTITIONERS
from roughfed.params import Flat
from roughfed.rng import generator
from roughfed.training import Turn
from tests.bench.harness.federation import LocalClient, LocalFederation, accuracy_of, opened, unheard

if TYPE_CHECKING:
    from torch import nn

    from roughfed.client.trainer.parts import Tensors
    from roughfed.client.trainer.training.loop import Work

DATA = "fashion-mnist"
MIN_EXAMPLES = 40
TRAINED_ON = 0.75


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """What the clients learn, from what, and how."""

    clients: Annotated[int, typer.Option(min=2, help="Clients, all in one process.")] = 20
    examples: Annotated[int, typer.Option(min=1000, help="Images in all, of Fashion-MNIST's 70,000.")] = 50_000
    model: Annotated[str, typer.Option(help="A listed model.")] = "mlp"
    epochs: Annotated[int, typer.Option(min=1, help="Local passes in a round.")] = 1
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a step.")] = 32
    lr: Annotated[float, typer.Option(help="Local learning rate at the start; it falls along a cosine.")] = 0.03
    momentum: Annotated[float, typer.Option(help="Of the local steps.")] = 0.9
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; what counts are the models after the last one.")] = 8


class PersonalClients(LocalFederation):
    """K clients and the model that they share, or the part of it that they share."""

    def __init__(
        self,
        options: LocalOptions,
        private: Callable[[nn.Module], Sequence[str]],
        *,
        alpha: float,
        seed: int,
        folder: Path,
    ) -> None:
        """Deal out the data and build the model.

        Args:
            options: what is learnt.
            private: of a model, the patterns of the tensors that stay with the clients.
            alpha: of the Dirichlet division.
            seed: of the choice of images, the division, the weights and every local training.
            folder: for the files that the trainer's loop reads and writes.

        Raises:
            ConfigError: no data here, or too few for so many clients.
        """
        whole = _images()
        rng = generator(seed, "personal", "examples")
        drawn = whole.take(np.sort(rng.permutation(len(whole))[: options.examples]))
        split = PARTITIONERS["dirichlet"].split
        parts = split(drawn.labels, options.clients, rng, min_examples=MIN_EXAMPLES, alpha=alpha)
        orders = [rng.permutation(part) for part in parts]
        cuts = [round(TRAINED_ON * len(order)) for order in orders]

        def build() -> nn.Module:
            return models.build(options.model, drawn.input_shape, drawn.num_classes, seed)

        super().__init__(
            build,
            [drawn.take(order[:cut]) for order, cut in zip(orders, cuts, strict=True)],
            folder,
            num_classes=drawn.num_classes,
            seed=seed,
            settings={
                "epochs": options.epochs,
                "batch_size": options.batch_size,
                "lr": options.lr,
                "momentum": options.momentum,
                "schedule": "cosine",
            },
            private=private(build()),
        )
        self._rounds = options.rounds
        self._train = {client.name: opened(client.data) for client in self.clients}
        tests = [drawn.take(order[cut:]) for order, cut in zip(orders, cuts, strict=True)]
        self.test = {client.name: opened(test) for client, test in zip(self.clients, tests, strict=True)}

    def round(self, number: int, method: str, *, alone: bool = False) -> None:
        """One round of everybody, whose mean is weighted by examples.

        Args:
            number: of the round, from 1.
            method: of the local training.
            alone: let each client also go on with the model that it trains without the others.
        """
        self.hand_out(self.params)
        total, weights = np.zeros_like(self.params, dtype=np.float64), 0
        for client in self.clients:
            examples = self._train[client.name].num_examples
            total += examples * self._trained(client, number, method, alone=alone).astype(np.float64)
            weights += examples
        self.params = (self.params + total / weights).astype(np.float32)

    def accuracies(self, number: int, method: str) -> list[float]:
        """Share of its test part that each client gets right with the model that it would use.

        Args:
            number: of the round that would come next.
            method: `plain` for the common model, else what makes a model of one's own of it.
        """
        from roughfed.client.trainer.model.private import bring
        from roughfed.client.trainer.model.tensors import load_flat
        from roughfed.client.trainer.training.own_models import personalise

        self.hand_out(self.params)
        found: list[float] = []
        for client in self.clients:
            bring(self.model, self.spec, client.remembered, self.fresh)
            load_flat(self.model, self.spec, self.params)
            work = self._work(client, number, method, _copy(client.remembered))
            personalise(self.model, self._train[client.name], work, report=unheard)
            found.append(self._accuracy(self.model, client))
        return found

    def alone(self) -> list[float]:
        """The same with the model that each client trained without the others."""
        from roughfed.client.trainer.training.own_models import load_alone

        found: list[float] = []
        for client in self.clients:
            model = self.fresh()
            load_alone(model, client.remembered)
            found.append(self._accuracy(model, client))
        return found

    def _accuracy(self, model: nn.Module, client: LocalClient) -> float:
        from roughfed.client.trainer.evaluation.evaluate import evaluate

        return accuracy_of(evaluate(model, self.test[client.name], "classification", report=unheard))

    def _trained(self, client: LocalClient, number: int, method: str, *, alone: bool) -> Flat:
        from roughfed.client.trainer.model.private import bring, keep
        from roughfed.client.trainer.training.own_models import train_alone

        work, source = self._work(client, number, method, client.remembered), self._train[client.name]
        bring(self.model, self.spec, client.remembered, self.fresh)
        _, delta = self.fit(source, work)
        keep(self.model, self.spec, client.remembered)
        if alone:
            train_alone(self.fresh(), source, work, report=unheard)
        return delta

    def _work(self, client: LocalClient, number: int, method: str, remembered: dict[str, Tensors]) -> Work:
        turn = Turn(number, max(number, self._rounds))
        return self.work(client.name, turn, remembered=remembered, settings={"method": method})


@cache
def _images() -> Dataset:
    return concatenate(load(DATA))


def _copy(remembered: dict[str, Tensors]) -> dict[str, Tensors]:
    return {part: dict(tensors) for part, tensors in remembered.items()}
