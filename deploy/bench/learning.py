"""Clients that really learn, all in this process: real images, dealt out as in a federation, the trainer's own loop.

One thread, so the same seed gives the same model. D parameters, K clients, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roughfed import models
from roughfed.data import load
from roughfed.data.partition import PARTITIONERS
from roughfed.params import Flat, write_model
from roughfed.rng import derive, generator
from roughfed.training import Turn

if TYPE_CHECKING:
    from roughfed.client.trainer.data import Source
    from roughfed.data.dataset import Labels

DATA = "fashion-mnist"
MIN_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class LearningOptions:
    """What everybody learns, and from what.

    Attributes:
        clients: K.
        examples: training examples in all, drawn for each seed; the test part is always the whole published one.
        alpha: of the Dirichlet division.
        model: a listed model.
        epochs: local passes in a round.
        batch_size: examples a step.
        lr: local learning rate.
        momentum: of the local steps.
    """

    clients: int = 20
    examples: int = 20_000
    alpha: float = 0.5
    model: str = "mlp"
    epochs: int = 1
    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9


class Learners:
    """K clients with their shares of the data, and the test part that nobody trains on."""

    def __init__(self, options: LearningOptions, *, seed: int, folder: Path) -> None:
        """Deal out the data and build the model.

        Args:
            options: what is learnt.
            seed: of the choice of examples, the division, the weights and every local training.
            folder: for the files that the trainer's loop reads and writes.

        Raises:
            ConfigError: no data here, or too few for so many clients.
        """
        import torch

        from roughfed.client.trainer.tensors import spec_of

        torch.set_num_threads(1)
        whole, test = load(DATA)
        order = generator(seed, "accuracy", "examples").permutation(len(whole))
        train = whole.take(np.sort(order[: options.examples]))
        rng = generator(seed, "data", DATA, "partition", "dirichlet")
        split = PARTITIONERS["dirichlet"].split
        parts = split(train.labels, options.clients, rng, min_examples=MIN_EXAMPLES, alpha=options.alpha)
        self.shares = [train.take(part) for part in parts]
        self.names = [f"client-{number:03d}" for number in range(1, options.clients + 1)]
        self._model = models.build(options.model, train.input_shape, train.num_classes, seed)
        self._spec = spec_of(self._model)
        self._test = _opened(test.x, test.labels)
        self._options, self._seed, self._folder = options, seed, folder
        self._sources: dict[tuple[int, bool], Source] = {}

    def initial(self) -> Flat:
        """The seeded first parameters, float32 [D]; before any training."""
        from roughfed.client.trainer.tensors import pieces

        return np.concatenate(list(pieces(self._model)))

    def hand_out(self, params: Flat) -> None:
        """Write the model, float32 [D], that everybody trains from next."""
        write_model(self._folder / "model.safetensors", self._spec, [params])

    def delta(self, index: int, number: int, *, flipped: bool = False) -> Flat:
        """Train as one client in one round.

        Args:
            index: which client, 0..K-1.
            number: of the round.
            flipped: with wrong labels, C - 1 - y for y.

        Returns:
            local minus global parameters, float32 [D].

        Raises:
            TrainerError: reason `diverged`.
        """
        from roughfed.client.trainer.loop import Work, fit
        from roughfed.client.trainer.settings import TrainerSettings

        given = self._options
        settings = TrainerSettings(
            epochs=given.epochs, batch_size=given.batch_size, lr=given.lr, momentum=given.momentum
        )
        out = self._folder / "delta.f32"
        seed = derive(self._seed, "client", self.names[index], number)
        work = Work(self._folder / "model.safetensors", out, settings, seed, Turn(number), self.shares[0].num_classes)
        fit(self._model, self._source(index, flipped), work, report=_unheard)
        return np.fromfile(out, dtype="<f4")

    def accuracy(self, params: Flat) -> float:
        """Share of the test part that the model, float32 [D], gets right."""
        from roughfed.client.trainer.evaluate import evaluate
        from roughfed.client.trainer.tensors import load_flat

        load_flat(self._model, self._spec, params)
        sums = evaluate(self._model, self._test, "classification", report=_unheard)
        return sum(sums.class_correct) / sums.num_examples

    def _source(self, index: int, flipped: bool) -> Source:
        if (index, flipped) not in self._sources:
            share = self.shares[index]
            labels = share.num_classes - 1 - share.labels if flipped else share.labels
            self._sources[index, flipped] = _opened(share.x, labels)
        return self._sources[index, flipped]


def _opened(x: Flat, labels: Labels) -> Source:
    import torch

    from roughfed.client.trainer.data import open_source

    return open_source((x, labels), torch.device("cpu"), torch.float32)


def _unheard(_share: float) -> None:
    """Nobody asks how far a training is."""
