"""What the server's finishing gets: a classifier, and sums. C classes, d features before the last layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.optimize.sgd import SGD
from roughfed.client.trainer.torch_types import floats
from roughfed.errors import ConfigError

BATCH = 250


@dataclass(frozen=True, slots=True)
class Classifier:
    """The last linear layer: weights float32 [C, d] and biases [C]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Logits [..., C] of features [..., d]."""
        return functional.linear(features, self.weight, self.bias)

    def flat(self) -> list[float]:
        """Weights row by row, then biases."""
        return [*floats(self.weight.flatten()), *floats(self.bias)]

    @classmethod
    def of(cls, flat: Sequence[float], like: Classifier) -> Classifier:
        """What `flat` gave.

        Raises:
            ConfigError: another number of values.
        """
        size = like.weight.numel()
        if len(flat) != size + like.bias.numel():
            raise ConfigError(f"{len(flat)} values are no classifier of this model", key="trainer.calibrate")
        values = torch.tensor(list(flat), dtype=torch.float32)
        return cls(values[:size].reshape(like.weight.shape), values[size:])


@dataclass(slots=True)
class CohortSums:
    """One finishing.

    Attributes:
        classifier: of the model to finish.
        sums: by statistic, real numbers; zero for a class that too few clients have.
        generator: of all draws, on the CPU.
        at: the classifier at which gradients were taken.
        kept: what a method keeps from round to round; changed by it.
    """

    classifier: Classifier
    sums: Mapping[str, Sequence[float]]
    generator: torch.Generator
    at: Classifier
    kept: dict[str, Tensor] = field(default_factory=dict)

    def sum_of(self, name: str, *shape: int) -> Tensor:
        """A statistic as float64 of a shape.

        Raises:
            ConfigError: it is missing, or has another number of values.
        """
        values = torch.tensor(list(self.sums.get(name, ())), dtype=torch.float64)
        if values.numel() != torch.Size(shape).numel():
            raise ConfigError(f"{values.numel()} values of {name}, want {shape}", key="trainer.calibrate")
        return values.reshape(shape)


Maker = Callable[[CohortSums], Classifier]
"""A row of the room `calibrate/`."""


def retrain(
    start: Classifier, features: Tensor, labels: Tensor, given: CohortSums, *, epochs: int, lr: float
) -> Classifier:
    """Train a classifier on features with cross-entropy; classes without any keep their weights and biases.

    Args:
        start: where it begins.
        features: float32 [N, d].
        labels: int64 [N].
        given: for its generator.
        epochs: passes.
        lr: learning rate, falling to 0 like half a cosine.
    """
    weight, bias = start.weight.clone().requires_grad_(True), start.bias.clone().requires_grad_(True)
    seen = torch.bincount(labels, minlength=len(bias)) > 0
    optimizer = SGD([weight, bias], lr=lr, momentum=0.9, weight_decay=0.0)
    steps = max(1, -(-len(labels) // BATCH) * epochs)
    step = 0
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=given.generator)
        for at in torch.split(order, BATCH):
            optimizer.lr = lr * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * step / steps))))
            optimizer.zero_grad()
            functional.cross_entropy(functional.linear(features[at], weight, bias), labels[at]).backward()
            for part in (weight, bias):
                if part.grad is not None:
                    part.grad[~seen] = 0.0
            optimizer.step()
            step += 1
    return Classifier(weight.detach(), bias.detach())
