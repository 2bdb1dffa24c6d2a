"""Optimizers of the local steps, by the names that the settings know."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from torch import Tensor

from roughfed.client.trainer.optimize.adam import Adam
from roughfed.client.trainer.optimize.sgd import SGD
from roughfed.client.trainer.settings import TrainerSettings

OPTIMIZERS = {"sgd": SGD, "adam": Adam, "adamw": partial(Adam, decoupled=True)}


def optimizer_for(settings: TrainerSettings, params: Iterable[Tensor]) -> SGD | Adam:
    """The optimizer of a training, with fresh moments."""
    made = OPTIMIZERS[settings.optimizer]
    return made(params, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
