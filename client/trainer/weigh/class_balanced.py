"""Class-balanced weights by the effective number of examples (Cui et al., CVPR 2019, equation 2), at once or deferred.

Deferred re-weighting (DRW): Cao et al., NeurIPS 2019, algorithm 1. A mixed example counts for both of its classes.
Differs: the loop divides by the sum of the weights in a batch, so that a batch of head examples is not learnt from at
a lower rate; the papers' code divides by the number of examples in its class-balanced loss.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from roughfed.client.trainer.labels.prior import class_counts
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Plan


def class_balanced(options: Options, context: Context, _plan: Plan) -> Hooks:
    """Weights from the first step on."""
    weights = effective_weights(class_counts(context), float(options["beta"]))
    return Hooks(transform=lambda batch: weighed(batch, weights))


def drw(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The same weights, from a share of the run on."""
    weights, after = effective_weights(class_counts(context), float(options["beta"])), float(options["after"])
    return Hooks(transform=lambda batch: weighed(batch, weights) if context.progress >= after else batch)


def effective_weights(counts: Tensor, beta: float) -> Tensor:
    """(1 - beta) / (1 - beta^n_c), scaled to add up to the number of classes.

    Args:
        counts: n_c, [C]; a class without examples is weighed as one with one.
        beta: 0 (all alike) to below 1 (close to 1: by 1 / n_c).

    Returns:
        float32 [C], positive.
    """
    n = counts.double().clamp_min(1)
    weights = (1 - beta) / (1 - torch.pow(torch.full_like(n, beta), n))
    return (weights * len(n) / weights.sum()).float()


def weighed(batch: Batch, weights: Tensor) -> Batch:
    """The batch with each example's weight, times the weight that it has already.

    A mixed example's value must become s w_a l_a + (1 - s) w_b l_b. The loop has weight * (share l_a + (1 - share)
    l_b), so its weight is s w_a + (1 - s) w_b and its share s w_a of that.
    """
    weight = weights[batch.y]  # [B]
    share = batch.share
    if batch.other is not None and share is not None:
        first = share * weight
        weight = first + (1 - share) * weights[batch.other]
        share = first / weight
    return replace(batch, weight=weight if batch.weight is None else weight * batch.weight, share=share)
