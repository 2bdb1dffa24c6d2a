"""Skill-diverse experts (SADE; Zhang et al., NeurIPS 2022, equations 1 to 3): for the head, for all, for the tail.

Cross-entropy of v1; of v2 + log pi; of v3 + log pi - lambda log pi', where pi' is the prior with its ranks reversed.
The model answers with the mean of the three.
Differs: the mean of the three losses, not their sum, so that the learning rate of one head fits; the aggregation at
test time from unlabelled test data is not there: it would need every client's future inputs.

B batch, C classes.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from roughfed.client.trainer.ensemble._shared import count_experts, run_each
from roughfed.client.trainer.labels.prior import class_prior, shifted_cross_entropy
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Plan
from roughfed.errors import ConfigError

EXPERTS = 3


def sade(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part.

    Raises:
        ConfigError: the model has not three experts.
    """
    if (count := count_experts(context)) != EXPERTS:
        raise ConfigError(f"sade trains three experts, the model has {count}", key="model.experts", cure="experts = 3")

    @cache
    def shifts() -> Tensor:
        return sade_shifts(class_prior(context), float(options["lambda"]))

    return Hooks(forward=run_each, loss=lambda output, batch: sade_loss(output, batch, shifts()))


def sade_shifts(prior: Tensor, strength: float) -> Tensor:
    """What is added to each expert's logits in training, float32 [3, C]."""
    ranked, order = prior.sort()
    reversed_prior = torch.empty_like(prior)
    reversed_prior[order] = ranked.flip(0)  # the most frequent class has the share of the rarest, and so on
    log = prior.log()
    return torch.stack([torch.zeros_like(log), log, log - strength * reversed_prior.log()])


def sade_loss(output: Tensor, batch: Batch, shifts: Tensor) -> Tensor:
    """Mean of the three cross-entropies, float32 [B]; logits [3, B, C]."""
    each = [shifted_cross_entropy(z, batch.y, shift) for z, shift in zip(output, shifts, strict=True)]
    return torch.stack(each).mean(dim=0)
