"""Clients with distributions of their own, all in this process: each keeps its data, its state and its test part.

The division is PFLlib's (Zhang et al., JMLR 2025): all images, train and test part alike, are dealt out by Dirichlet
shares, and each client's are cut into 3/4 to train on and 1/4 to test on. One thread, so the same seed gives the same
models. K clients, D parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roughfed import models
from roughfed.data import load
from roughfed.data.dataset import Dataset, concatenate
from roughfed.data.partition import PARTITIONERS
from roughfed.params import Flat, write_model
from roughfed.rng import derive, generator
from roughfed.scope import shared_spec
from roughfed.training import Turn
from roughfed.types import Spec

if TYPE_CHECKING:
    from torch import nn

    from roughfed.client.trainer.examples.batches import Source
    from roughfed.client.trainer.parts import Tensors
    from roughfed.client.trainer.training.loop import Work

DATA = "fashion-mnist"
MIN_EXAMPLES = 40
TRAINED_ON = 0.75


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """What the clients learn, from what, and how.

    Attributes:
        clients: K.
        examples: images in all, drawn for each seed from the published 70,000.
        model: a listed model.
        epochs: local passes in a round.
        batch_size: examples a step.
        lr: local learning rate at the start; it falls along a cosine over the run.
        momentum: of the local steps.
        rounds: of the run.
    """

    clients: int = 20
    examples: int = 50_000
    model: str = "mlp"
    epochs: int = 1
    batch_size: int = 32
    lr: float = 0.03
    momentum: float = 0.9
    rounds: int = 8


@dataclass
class Client:
    """One of them; `remembered` is its trainer's state."""

    name: str
    train: Source
    test: Source
    remembered: dict[str, Tensors] = field(default_factory=dict["str", "Tensors"])


class Clients:
    """K clients and the model that they share, or the part of it that they share."""

    def __init__(self, options: LocalOptions, *, alpha: float, seed: int, folder: Path) -> None:
        """Deal out the data and build the model.

        Args:
            options: what is learnt.
            alpha: of the Dirichlet division.
            seed: of the choice of images, the division, the weights and every local training.
            folder: for the files that the trainer's loop reads and writes.

        Raises:
            ConfigError: no data here, or too few for so many clients.
        """
        import torch

        torch.set_num_threads(1)
        whole = _images()
        rng = generator(seed, "personal", "examples")
        drawn = whole.take(np.sort(rng.permutation(len(whole))[: options.examples]))
        split = PARTITIONERS["dirichlet"].split
        parts = split(drawn.labels, options.clients, rng, min_examples=MIN_EXAMPLES, alpha=alpha)
        self.clients: list[Client] = []
        for number, part in enumerate(parts, 1):
            order = rng.permutation(part)
            cut = round(TRAINED_ON * len(order))
            train, test = (_opened(drawn.x[at], drawn.labels[at]) for at in (order[:cut], order[cut:]))
            self.clients.append(Client(f"client-{number:03d}", train, test))
        self.options, self._seed, self._folder = options, seed, folder
        self._classes = drawn.num_classes
        self._initial = models.build(options.model, drawn.input_shape, drawn.num_classes, seed)
        self.model = copy.deepcopy(self._initial)

    def fresh(self) -> nn.Module:
        """A model with the seeded first weights."""
        return copy.deepcopy(self._initial)

    def spec(self, private: Sequence[str]) -> Spec:
        """Of what is shared."""
        from roughfed.client.trainer.model.tensors import spec_of

        return shared_spec(spec_of(self.model), private=private)

    def initial(self, spec: Spec) -> Flat:
        """The seeded first values of what is shared, float32 [D]."""
        parts = dict(self._initial.state_dict())
        return np.concatenate([parts[t.name].numpy().reshape(-1).astype(np.float32) for t in spec.tensors])

    def round(self, number: int, spec: Spec, params: Flat, method: str, *, alone: bool = False) -> Flat:
        """One round of everybody; the mean, weighted by examples.

        Args:
            number: of the round, from 1.
            spec: of what is shared.
            params: what is shared, float32 [D].
            method: of the local training.
            alone: let each client also go on with the model that it trains without the others.
        """
        self.hand_out(spec, params)
        total, weights = np.zeros_like(params, dtype=np.float64), 0
        for client in self.clients:
            delta = self._train(client, number, spec, method, alone=alone)
            total += client.train.num_examples * delta.astype(np.float64)
            weights += client.train.num_examples
        return (params + total / weights).astype(np.float32)

    def hand_out(self, spec: Spec, params: Flat) -> None:
        """Write the model file that everybody works with next."""
        write_model(self._folder / "model.safetensors", spec, [params])

    def accuracies(self, number: int, method: str, *, spec: Spec, params: Flat) -> list[float]:
        """Share of its test part that each client gets right with the model that it would use.

        Args:
            number: of the round that would come next.
            method: `plain` for the common model, else what makes a model of one's own of it.
            spec: of what is shared.
            params: what is shared, float32 [D].
        """
        from roughfed.client.trainer.model.private import bring
        from roughfed.client.trainer.model.tensors import load_flat
        from roughfed.client.trainer.training.own_models import personalise

        self.hand_out(spec, params)
        found: list[float] = []
        for client in self.clients:
            work = self._work(client, number, method)
            bring(self.model, spec, client.remembered, self.fresh)
            load_flat(self.model, spec, params)
            personalise(self.model, client.train, replace(work, remembered=_copy(client.remembered)), report=_unheard)
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

    def _accuracy(self, model: nn.Module, client: Client) -> float:
        from roughfed.client.trainer.evaluation.evaluate import evaluate

        sums = evaluate(model, client.test, "classification", report=_unheard)
        return sum(sums.class_correct) / sums.num_examples

    def _train(self, client: Client, number: int, spec: Spec, method: str, *, alone: bool) -> Flat:
        from roughfed.client.trainer.model.private import bring, keep
        from roughfed.client.trainer.training.loop import fit
        from roughfed.client.trainer.training.own_models import train_alone

        work = self._work(client, number, method)
        bring(self.model, spec, client.remembered, self.fresh)
        fit(self.model, client.train, work, report=_unheard)
        keep(self.model, spec, client.remembered)
        if alone:
            train_alone(self.fresh(), client.train, work, report=_unheard)
        return np.fromfile(work.delta, dtype="<f4")

    def _work(self, client: Client, number: int, method: str) -> Work:
        from roughfed.client.trainer.settings import TrainerSettings
        from roughfed.client.trainer.training.loop import Work

        given = self.options
        settings = TrainerSettings(
            method=method,
            epochs=given.epochs,
            batch_size=given.batch_size,
            lr=given.lr,
            momentum=given.momentum,
            schedule="cosine",
        )
        folder, seed = self._folder, derive(self._seed, "client", client.name, number)
        turn = Turn(number, max(number, given.rounds))
        files = folder / "model.safetensors", folder / "delta.f32"
        return Work(*files, settings, seed, turn, self._classes, remembered=client.remembered)


@cache
def _images() -> Dataset:
    return concatenate(load(DATA))


def _opened(x: Flat, labels: object) -> Source:
    import torch

    from roughfed.client.trainer.examples.batches import open_source

    return open_source((x, labels), torch.device("cpu"), torch.float32)


def _copy(remembered: dict[str, Tensors]) -> dict[str, Tensors]:
    return {part: dict(tensors) for part, tensors in remembered.items()}


def _unheard(_share: float) -> None:
    """Nobody asks how far a training is."""
