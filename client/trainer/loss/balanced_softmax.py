"""Balanced softmax (Ren et al., NeurIPS 2020, equation 4): cross-entropy of logits plus the log of the class shares."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from roughfed.client.trainer.labels.prior import log_prior, shifted_cross_entropy
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def balanced_softmax_loss(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; tau = 1 is the paper's."""

    @cache
    def shift() -> Tensor:  # [C]
        return float(options["tau"]) * log_prior(context)

    return Hooks(loss=lambda output, batch: shifted_cross_entropy(output, batch.y, shift()))
