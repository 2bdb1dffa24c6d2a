"""Draws of examples by their class. N examples, C classes."""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.parts import Context
from roughfed.errors import ConfigError


def draw_by_class(targets: Tensor, class_shares: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw examples with replacement: first a class, then one of its examples, each with equal chance.

    Args:
        targets: class numbers, int64 [N], N at least 1.
        class_shares: chance of each class up to a factor, [C], 0 or more; classes without examples are left out.
        count: how many.
        generator: on the CPU.

    Returns:
        places in `targets`, int64 [count] on the CPU.
    """
    targets = targets.cpu()
    counts = torch.bincount(targets, minlength=len(class_shares))  # [C]
    chances = class_shares.double().cpu() * (counts > 0)
    if not float(chances.sum()) > 0:  # nothing wanted is here: any example will do
        chances = counts.double()
    classes = torch.multinomial(chances, count, replacement=True, generator=generator)  # [count]
    by_class = torch.argsort(targets, stable=True)  # [N]
    first = counts.cumsum(0) - counts  # [C]
    within = torch.rand(count, generator=generator, dtype=torch.float64) * counts[classes]
    return by_class[first[classes] + within.long()]


def labels_of(context: Context) -> Tensor:
    """The class of every training example, int64 [N].

    Raises:
        ConfigError: they are behind a DataLoader.
    """
    targets = context.source.targets
    if targets is None:
        raise ConfigError("training labels are not at hand", key="train", cure="give (x, y) arrays or tensors")
    return targets


def equal_shares(counts: Tensor) -> Tensor:
    """The same chance for every class that is there, float64 [C]; counts [C]."""
    present = (counts > 0).double()
    return present / present.sum().clamp_min(1)
