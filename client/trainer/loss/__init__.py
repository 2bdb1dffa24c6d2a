"""The losses: one file each, one row each. A loss maps (output, target) to one value per example.

B is the batch, C the number of classes. Per example, not their mean, so that selection and reweighting can come later;
the loop takes the mean, evaluation the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from roughfed.client.trainer.loss.cross_entropy import cross_entropy
from roughfed.client.trainer.loss.mse import mse
from roughfed.client.trainer.settings import known
from roughfed.errors import ConfigError
from roughfed.types import Task


@dataclass(frozen=True, slots=True)
class Loss:
    """One row.

    Attributes:
        function: (output, target) -> float32 [B], differentiable in the output.
        task: the task it is for.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    task: Task


LOSSES: dict[str, Loss] = {
    "cross-entropy": Loss(cross_entropy, "classification"),
    "mse": Loss(mse, "regression"),
}

PLANNED = (
    "balanced-softmax",
    "logit-adjustment",
    "ldam",
    "focal",
    "class-balanced",
    "label-smoothing",
    "gce",
    "sce",
    "elr",
    "forward-correction",
    "co-teaching",
    "dividemix",
    "er",
    "der++",
    "ewc",
    "long-tail",
    "noisy",
    "continual",
)


def choose(name: str, task: Task) -> Loss:
    """The loss called `name`; auto is the task's own.

    Raises:
        ConfigError: unknown, or for the other task.
        NotBuiltYet: planned.
    """
    if name == "auto":
        return next(row for row in LOSSES.values() if row.task == task)
    row = LOSSES[known(name, LOSSES, key="trainer.loss", planned=PLANNED)]
    if row.task != task:
        raise ConfigError(f"{name!r} is for {row.task}, the task here is {task}", key="trainer.loss")
    return row
