"""Sums over held-out data, so that the evaluations of several clients add up. B is the batch, C the classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from roughfed.client.trainer.data import Source
from roughfed.client.trainer.loss import choose
from roughfed.client.trainer.loss.mse import residual
from roughfed.errors import ConfigError
from roughfed.types import Task

BATCH = 256


@dataclass(frozen=True, slots=True)
class Sums:
    """The fields of `roughfed.types.Evaluation` that are sums."""

    num_examples: int
    loss_sum: float
    class_count: tuple[int, ...] = ()
    class_correct: tuple[int, ...] = ()
    absolute_error_sum: float = 0.0


@torch.inference_mode()
def evaluate(model: nn.Module, source: Source, task: Task, *, report: Callable[[float], None]) -> Sums:
    """Evaluate a model.

    The loss is the task's plain one (cross-entropy or squared error), whatever it was trained with: only then do
    clients add up.

    Args:
        model: left in evaluation mode.
        source: held-out examples.
        task: decides what is counted.
        report: gets the share done before each batch.

    Raises:
        ConfigError: a class number outside the model's output.
    """
    model.eval()
    loss = choose("auto", task).function
    loss_sums: list[Tensor] = []
    counts: list[tuple[Tensor, Tensor]] = []
    seen = 0
    for x, y in source.epoch(BATCH, None):
        report(min(1.0, seen / source.num_examples))  # a sampler may repeat examples
        seen += len(y)
        output = model(x)
        if task == "classification":
            counts.append(_count(output, y))
        else:
            counts.append((residual(output, y).abs().sum(), torch.zeros(())))
        loss_sums.append(loss(output, y).sum())
    loss_sum = sum(float(part) for part in loss_sums)  # in float64, one wait for the device at the end
    if task == "regression":
        return Sums(seen, loss_sum, absolute_error_sum=sum(float(error) for error, _ in counts))
    class_count = torch.stack([count for count, _ in counts]).sum(dim=0)
    class_correct = torch.stack([correct for _, correct in counts]).sum(dim=0)
    return Sums(seen, loss_sum, tuple(class_count.tolist()), tuple(class_correct.tolist()))


def _count(output: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Examples and correct examples per class, int64 [C] each."""
    num_classes = output.shape[1]
    check_labels(y, num_classes)
    correct = y[output.argmax(dim=1) == y]
    return torch.bincount(y, minlength=num_classes), torch.bincount(correct, minlength=num_classes)


def check_labels(y: Tensor, num_classes: int) -> None:
    """Refuse class numbers outside 0..C-1.

    Raises:
        ConfigError: names the range that was found.
    """
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= num_classes:
        raise ConfigError(f"labels from {low} to {high}, the model's output has {num_classes} classes", key="data")
