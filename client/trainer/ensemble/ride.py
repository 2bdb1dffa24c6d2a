"""Routing diverse experts (RIDE; Wang et al., ICLR 2021, equation 3): experts that know the classes, and differ.

Each expert has a classification loss; the Kullback-Leibler divergence of the experts' mean from it, at a temperature
that is lower for rarer classes, is taken away from that.
Differs: the divergence is from the mean of the logits, without a gradient, as in the authors' code, not from each
other expert; the classification loss is cross-entropy with the log of the class shares added (`tau`) instead of LDAM,
which needs a normalised head, and the authors' weight of 0.2 beside a loss that is multiplied by s = 30 is about 0.01
here (0.2 costs 5 points on the long-tailed Fashion-MNIST of the bench); the mean over the experts, not the sum, so
that the same learning rate fits any number of them; no routing at inference: all experts of this model share a trunk,
so nothing would be saved.

K experts, B batch, C classes.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.ensemble._shared import count_experts, run_each
from roughfed.client.trainer.labels.prior import class_prior, log_prior, shifted_cross_entropy
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Plan


def ride(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part."""
    count_experts(context)
    diversity = float(options["diversity"])

    @cache
    def by_class() -> tuple[Tensor, Tensor]:
        warm = class_temperatures(class_prior(context), float(options["reweight"]))
        return float(options["tau"]) * log_prior(context), warm

    def loss(output: Tensor, batch: Batch) -> Tensor:
        shift, temperatures = by_class()
        return ride_loss(output, batch.y, shift, temperatures, diversity)

    return Hooks(forward=run_each, loss=loss)


def class_temperatures(prior: Tensor, reweight: float) -> Tensor:
    """C pi_c r + 1 - r, divided by the largest; float32 [C], above 0 to 1. r = 0: 1 for every class."""
    raw = len(prior) * prior * reweight + 1 - reweight
    return raw / raw.max()


def ride_loss(output: Tensor, target: Tensor, shift: Tensor, temperatures: Tensor, diversity: float) -> Tensor:
    """Mean over the experts of cross-entropy minus diversity.

    Args:
        output: logits [K, B, C].
        target: int64 [B].
        shift: tau log pi, float32 [C].
        temperatures: T_c, float32 [C].
        diversity: lambda.

    Returns:
        float32 [B], in nats.
    """
    logits = output.float()
    entropy = torch.stack([shifted_cross_entropy(z, target, shift) for z in logits])  # [K, B]
    mean = functional.log_softmax(logits.detach().mean(dim=0) / temperatures, dim=1)  # [B, C]
    each = functional.log_softmax(logits / temperatures, dim=2)  # [K, B, C]
    apart = (mean.exp() * (mean - each)).sum(dim=2)  # KL(mean | expert), [K, B]
    return (entropy - diversity * temperatures.mean().square() * apart).mean(dim=0)
