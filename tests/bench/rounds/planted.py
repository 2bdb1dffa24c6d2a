"""Clients of two laws: the same pictures, but some clients' labels are permuted, so that no one model fits all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from roughfed import models
from roughfed.params import Flat
from roughfed.rng import derive, generator
from tests.bench.harness.federation import opened
from tests.bench.harness.learners import Learners, LearningOptions

SHIFT = 3
"""A client of the second law calls class c what others call (c + 3) mod C."""


class Planted(Learners):
    """Learners of which the last ones follow another law.

    Attributes:
        law: client -> 0 or 1.
    """

    def __init__(self, options: LearningOptions, second: int, *, seed: int, folder: Path) -> None:
        """`second`: clients of the second law, 0 for none; which ones is drawn."""
        super().__init__(options, seed=seed, folder=folder)
        drawn = generator(seed, "planted").permutation(len(self.names))[:second]
        self.law: Mapping[str, int] = {name: int(at in drawn) for at, name in enumerate(self.names)}
        for at in drawn:
            share = self.shares[at]
            self._sources[int(at), None] = opened(replace(share, y=self.labels_of(share.labels, 1)))

    def labels_of(self, labels: np.ndarray, law: int) -> np.ndarray:
        """What a law calls the classes, int [N]."""
        return (labels + SHIFT * law) % self.shares[0].num_classes

    def parts(self) -> list[set[str]]:
        """The clients of each law that there is."""
        return [found for law in (0, 1) if (found := {name for name, of in self.law.items() if of == law})]

    def untrained(self, cluster: str, attempt: int) -> Flat:
        """Untrained parameters of another seed, float32 [D]."""
        from roughfed.client.trainer.model.tensors import pieces

        share = self.shares[0]
        seed = derive(self._seed, "first", cluster, attempt)
        model = models.build(self._options.model, share.input_shape, share.num_classes, seed)
        return np.concatenate(list(pieces(model)))

    def train_loss(self, name: str, params: Flat) -> float:
        """Mean loss of a model, float32 [D], on a client's own training data."""
        sums = self.evaluated(self.source(self.names.index(name)), params)
        return sums.loss_sum / sums.num_examples

    def right(self, params: Flat, law: int) -> float:
        """Share of the test part that a model, float32 [D], calls what a law calls it."""
        return float((self.predict(self.test.x, params) == self.labels_of(self.test.labels, law)).mean())
