"""Which examples of a batch have the smallest losses: what several selectors do. B batch, C classes, M networks."""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.labels.early_estimate import EarlyEstimate
from roughfed.client.trainer.parts import Context, Options
from roughfed.client.trainer.torch_types import distinct


class Belief:
    """The share of a batch that is believed: R = 1 - rate * min(progress / ramp, 1).

    `rate` is the share of *all* labels that are wrong ("40 % asymmetric" over half of the classes is 0.2); 0: estimated
    by an early look of the model, until which everything is believed. The ramp is a share of the whole run, since the
    epochs of the papers mean nothing in a round.
    """

    def __init__(self, options: Options, context: Context, part: str) -> None:
        """Read the options rate, ramp, warmup and per-class."""
        self._rate, self._ramp = float(options["rate"]), float(options["ramp"])
        self._per_class = bool(options["per-class"])
        self._context = context
        self._early = EarlyEstimate(context, part, warmup=float(options["warmup"]))
        self.epoch = None if self._rate else self._early.epoch

    @property
    def share(self) -> float:
        """R now, 0..1."""
        rate = self._rate or self._early.rate or 0.0
        return 1 - rate * grown(self._context.progress, self._ramp)

    def smallest(self, losses: Tensor, labels: Tensor) -> Tensor:
        """Which examples are believed: bool [B] of losses [B], at least one; of each label in it, if so asked."""
        if not self._per_class:
            return smallest(losses, self.share)
        chosen = torch.zeros_like(losses, dtype=torch.bool)
        for c in distinct(labels):
            own = labels == c
            chosen[own] = smallest(losses[own], self.share)
        return chosen


def smallest(losses: Tensor, share: float) -> Tensor:
    """The share (0..1) of the smallest losses [B], rounded, at least one: bool [B]."""
    count = max(1, round(share * len(losses)))
    chosen = torch.zeros_like(losses, dtype=torch.bool)
    chosen[losses.detach().topk(count, largest=False).indices] = True
    return chosen


def grown(progress: float, over: float) -> float:
    """How far something has grown that takes the share `over` of the run: 0..1."""
    return min(1.0, max(0.0, progress) / over) if over else 1.0
