"""Clients that learn Fashion-MNIST, dealt out by Dirichlet shares, with the test part that nobody trains on.

D parameters, K clients, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from roughfed import models
from roughfed.data import load
from roughfed.data.partition import PARTITIONERS
from roughfed.data.rough import long_tail
from roughfed.deploy.attack.poison.labels import LabelPoison
from roughfed.params import Flat
from roughfed.rng import generator
from roughfed.training import Turn
from tests.bench.harness.federation import LocalFederation, accuracy_of, opened

if TYPE_CHECKING:
    from roughfed.client.trainer.examples.batches import Source

DATA = "fashion-mnist"
MIN_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class LearningOptions:
    """What everybody learns, and from what."""

    clients: Annotated[int, typer.Option(min=4, help="Clients, all in one process.")] = 20
    examples: Annotated[int, typer.Option(min=100, help="Training images in all, of Fashion-MNIST's 60,000.")] = 20_000
    alpha: Annotated[float, typer.Option(help="Skew of the Dirichlet division; smaller is more skewed.")] = 0.5
    model: Annotated[str, typer.Option(help="A listed model.")] = "mlp"
    epochs: Annotated[int, typer.Option(min=1, help="Local passes in a round.")] = 1
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a step.")] = 64
    lr: Annotated[float, typer.Option(help="Local learning rate.")] = 0.05
    momentum: Annotated[float, typer.Option(help="Of the local steps.")] = 0.9
    lr_decay: Annotated[float, typer.Option(help="What the rate is multiplied by from round to round.")] = 1.0
    imbalance: Annotated[float, typer.Option(min=1, help="Of the classes; 100 is a long tail.")] = 1.0


TAIL, ROOT_SHARE = 3, 10
"""Classes that are the tail; examples of each class in the root set."""


class Learners(LocalFederation):
    """K clients with their shares of the data.

    Attributes:
        shares: of each client.
    """

    def __init__(self, options: LearningOptions, *, seed: int, folder: Path) -> None:
        """Deal out the data and build the model.

        Args:
            options: what is learnt.
            seed: of the choice of examples, the division, the weights and every local training.
            folder: for the files that the trainer's loop reads and writes.

        Raises:
            ConfigError: no data here, or too few for so many clients.
        """
        whole, test = load(DATA)
        order = generator(seed, "accuracy", "examples").permutation(len(whole))
        train = whole.take(np.sort(order[: options.examples]))
        if options.imbalance > 1:  # Fashion-MNIST's last classes are easy ones: they are the head
            classes = list(reversed(range(train.num_classes)))
            kept = long_tail(train.labels, options.imbalance, generator(seed, "accuracy", "tail"), classes)
            train = train.take(kept)
        rng = generator(seed, "data", DATA, "partition", "dirichlet")
        split = PARTITIONERS["dirichlet"].split
        parts = split(train.labels, options.clients, rng, min_examples=MIN_EXAMPLES, alpha=options.alpha)
        self.shares = [train.take(part) for part in parts]
        super().__init__(
            lambda: models.build(options.model, train.input_shape, train.num_classes, seed),
            self.shares,
            folder,
            num_classes=train.num_classes,
            seed=seed,
            settings={
                "epochs": options.epochs,
                "batch_size": options.batch_size,
                "lr": options.lr,
                "momentum": options.momentum,
                "lr_decay": options.lr_decay,
            },
        )
        self.test, self._test_source = test, opened(test)
        self._unused = whole, order[options.examples :]
        self._tail = np.argsort(np.bincount(train.labels, minlength=train.num_classes), kind="stable")[:TAIL]
        self._options = options
        self._sources: dict[tuple[int, LabelPoison | None], Source] = {}
        self._root: Source | None = None

    def update(
        self, index: int, number: int, *, wrong: LabelPoison | None = None, tensors: tuple[str, ...] = ()
    ) -> Flat:
        """Train as one client in one round, which remembers nothing.

        Args:
            index: which client, 0..K-1.
            number: of the round.
            wrong: what is wrong with its data.
            tensors: patterns of the tensors that it trains; none: all of them.

        Returns:
            local minus global parameters, float32 [D]; with `tensors` those of these tensors alone.

        Raises:
            TrainerError: reason `diverged`.
        """
        work = self.work(self.names[index], Turn(number, tensors=tensors))
        return self.fit(self.source(index, wrong), work)[1]

    def root_update(self, number: int) -> Flat:
        """Train on the root set, 10 examples of each class that no client has, for as many steps as clients take.

        Args:
            number: of the round.

        Returns:
            float32 [D].
        """
        if self._root is None:
            whole, unused = self._unused
            found = [unused[whole.labels[unused] == c][:ROOT_SHARE] for c in range(whole.num_classes)]
            self._root = opened(whole.take(np.sort(np.concatenate(found))))
        batch = self._options.batch_size
        steps = [-(-len(share) // batch) for share in self.shares]
        passes = round(self._options.epochs * float(np.median(steps)) * batch / (ROOT_SHARE * self._classes))
        return self.fit(self._root, self.work("root", Turn(number), settings={"epochs": max(1, passes)}))[1]

    def sums(self, rows: Flat, examples: int) -> Iterator[tuple[int, float, list[int], list[int]]]:
        """Evaluate many models at once on the first `examples` of the test part.

        Args:
            rows: parameters of k models, float32 [k, D].
            examples: N.

        Yields:
            for each model N, the sum of its losses, and by class the examples and the correct ones.
        """
        import torch

        x, y = torch.from_numpy(self.test.x[:examples]), torch.from_numpy(self.test.labels[:examples])
        parts = {
            t.name: torch.from_numpy(rows[:, where]).reshape(len(rows), *t.shape)
            for t, where in zip(self.spec.tensors, self.spec.slices().values(), strict=True)
        }
        model = self.model.eval()
        with torch.inference_mode():
            output = torch.vmap(lambda one: torch.func.functional_call(model, one, (x,)))(parts)  # [k, N, C]
            count = torch.bincount(y, minlength=output.shape[2]).tolist()
            for logits in output:
                hit = y[logits.argmax(dim=1) == y]
                correct = torch.bincount(hit, minlength=output.shape[2]).tolist()
                loss = torch.nn.functional.cross_entropy(logits.double(), y, reduction="sum")
                yield examples, float(loss), count, correct

    def accuracy(self, params: Flat) -> float:
        """Share of the test part that the model, float32 [D], gets right."""
        return accuracy_of(self.evaluated(self._test_source, params))

    def recalls(self, params: Flat) -> list[float]:
        """Of each class, the share of its examples in the test part that the model, float32 [D], gets right."""
        table = self.confusion(self.test, params)
        return (table.diagonal() / table.sum(axis=1)).tolist()

    def measured(self, params: Flat, goal: LabelPoison | None) -> tuple[float, float, float]:
        """Accuracy, mean recall over the rarest classes, and share of the examples of a goal that are taken for it.

        Args:
            params: float32 [D].
            goal: what attackers want; the third is 0 where they want nothing in particular.
        """
        predicted, labels = self.predict(self.test.x, params), self.test.labels
        recall = [float((predicted[labels == c] == c).mean()) for c in self._tail]
        reached = 0.0
        if goal is not None:
            reached = float((self.predict(goal.aimed(self.test.x, labels), params) == goal.target).mean())
        return float((predicted == labels).mean()), float(np.mean(recall)), reached

    def source(self, index: int, wrong: LabelPoison | None = None) -> Source:
        """What a client trains on."""
        if (index, wrong) not in self._sources:
            share, places = self.shares[index], np.arange(len(self.shares[index]))
            if wrong is not None:
                x = wrong.inputs(share.x, share.labels, places.tolist())
                share = replace(share, x=x, y=wrong.labels(share.labels, share.num_classes, places))
            self._sources[index, wrong] = opened(share)
        return self._sources[index, wrong]
