"""Logit adjustment (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021).

In training (equation 10): cross-entropy of z + tau log pi. Or post-hoc (equation 9): plain cross-entropy, and
arg max of z - tau log pi. Never both, which would adjust twice. Post-hoc, a linear head takes the adjustment into its
bias, b - tau log pi, at the end of the last round as planned: that is exact, and nothing is needed at inference.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from roughfed.client.trainer.labels.prior import log_prior, shifted_cross_entropy
from roughfed.client.trainer.model.head import ends_in_head
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan
from roughfed.client.trainer.torch_types import bias_of
from roughfed.errors import ConfigError


def logit_adjustment_loss(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part.

    Raises:
        ConfigError: post-hoc, and the model does not end in a linear layer with a bias.
    """

    @cache
    def shift() -> Tensor:  # [C]
        return float(options["tau"]) * log_prior(context)

    if not options["post-hoc"]:
        return Hooks(loss=lambda output, batch: shifted_cross_entropy(output, batch.y, shift()))
    bias = _bias(context)

    def end() -> dict[str, float]:
        if context.round >= context.rounds:
            with torch.no_grad():
                bias.sub_(shift())
        return {}

    return Hooks(end=end)


def _bias(context: Context) -> nn.Parameter:
    x = next(iter(context.source.epoch(2, None)))[0]
    context.model.eval()
    ends = ends_in_head(context.model, x, context.num_classes)
    found = bias_of(context.head().linear) if ends else None
    if found is None:
        raise ConfigError(
            "logit-adjustment after training needs a model that ends in one linear layer with a bias",
            key="trainer.method",
            cure="write logit-adjustment (in training)",
        )
    return found
