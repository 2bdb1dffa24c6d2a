"""Sums over held-out data, so that the evaluations of several clients add up. B is the batch, C the classes.

Everything is counted on the device, in integers where order must not matter; the only wait for it is at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from roughfed.client.trainer.examples.batches import Source
from roughfed.client.trainer.loss.cross_entropy import cross_entropy
from roughfed.client.trainer.loss.mse import mse, residual
from roughfed.client.trainer.torch_types import floats, integers
from roughfed.errors import ConfigError
from roughfed.types import BINS, CONFIDENCE_ONE, MOST_CONFUSED, Task

BATCH = 256

_FINE = 1 << 20
"""A confidence of 1 while examples are added up; rounded to `CONFIDENCE_ONE` once, at the end."""


@dataclass(frozen=True, slots=True)
class Sums:
    """The fields of `roughfed.types.Evaluation` that are sums."""

    num_examples: int
    loss_sum: float
    class_count: tuple[int, ...] = ()
    class_correct: tuple[int, ...] = ()
    absolute_error_sum: float = 0.0
    confusion: tuple[int, ...] = ()
    calibration: tuple[int, ...] = ()


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
    loss = cross_entropy if task == "classification" else mse
    loss_sums: list[Tensor] = []
    errors: list[Tensor] = []
    counted: _Counts | None = None
    seen = 0
    for x, y in source.epoch(BATCH, None):
        report(min(1.0, seen / source.num_examples))  # a sampler may repeat examples
        seen += len(y)
        output = model(x)
        if task == "classification":
            counted = counted or _Counts(output.shape[1], output.device)
            target = counted.add(output, y)
        else:
            target = y
            errors.append(residual(output, y).abs().sum())
        loss_sums.append(loss(output, target).sum())
    if counted is not None:
        counted.check()
    loss_sum = _total(loss_sums)
    if counted is None:
        return Sums(seen, loss_sum, absolute_error_sum=_total(errors))
    count, correct, confusion, calibration = counted.sums()
    return Sums(seen, loss_sum, count, correct, confusion=confusion, calibration=calibration)


def _total(parts: list[Tensor]) -> float:
    """Scalars of a device, added up in float64; one wait for all."""
    return sum(floats(torch.stack(parts))) if parts else 0.0


class _Counts:
    """Integer sums on a device.

    `torch.bincount` is not used: on a GPU it waits for the largest value in every call.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._width = num_classes
        self._confused = num_classes <= MOST_CONFUSED
        cells = num_classes * (num_classes if self._confused else 2)
        self._cells = torch.zeros(cells, dtype=torch.int64, device=device)  # [C x C], or [2 x C]: count, correct
        self._bins = torch.zeros(3 * BINS, dtype=torch.int64, device=device)
        self._range = torch.tensor([0, 0], device=device)

    def add(self, output: Tensor, y: Tensor) -> Tensor:
        """Count a batch: logits [B, C], class numbers int64 [B].

        Returns:
            the class numbers, those outside the model's output replaced (a GPU does not survive them; see `check`).
        """
        self._range = torch.stack([torch.minimum(self._range[0], y.min()), torch.maximum(self._range[1], y.max())])
        y = y.clamp(0, self._width - 1)
        confidence, predicted = output.float().softmax(dim=1).nan_to_num(0.0).max(dim=1)
        hit = (predicted == y).long()
        one = torch.ones_like(y)
        if self._confused:
            self._cells.index_add_(0, y * self._width + predicted, one)
        else:
            self._cells.index_add_(0, y, one)
            self._cells.index_add_(0, y + self._width, hit)
        place = (torch.ceil(confidence * BINS) - 1).clamp(0, BINS - 1).long()
        for row, amount in enumerate((one, hit, (confidence * _FINE).round().long())):
            self._bins.index_add_(0, place + row * BINS, amount)
        return y

    def check(self) -> None:
        """Refuse the data if class numbers were outside the output.

        Raises:
            ConfigError: names the range that was found.
        """
        low, high = integers(self._range)
        _check_range(low, high, self._width)

    def sums(self) -> tuple[tuple[int, ...], ...]:
        """Examples and correct ones by class, confusion (empty for many classes), calibration."""
        bins = integers(self._bins)
        confidence = [(amount * CONFIDENCE_ONE + _FINE // 2) // _FINE for amount in bins[2 * BINS :]]
        calibration = (*bins[: 2 * BINS], *confidence)
        if not self._confused:
            count, correct = self._cells.view(2, -1)
            return tuple(integers(count)), tuple(integers(correct)), (), calibration
        table = self._cells.view(self._width, self._width)
        count, correct = integers(table.sum(dim=1)), integers(table.diagonal())
        return tuple(count), tuple(correct), tuple(integers(self._cells)), calibration


def check_labels(y: Tensor, num_classes: int) -> None:
    """Refuse class numbers outside 0..C-1.

    Raises:
        ConfigError: names the range that was found.
    """
    _check_range(int(y.min()), int(y.max()), num_classes)


def _check_range(low: int, high: int, num_classes: int) -> None:
    if low < 0 or high >= num_classes:
        raise ConfigError(f"labels from {low} to {high}, the model's output has {num_classes} classes", key="data")
