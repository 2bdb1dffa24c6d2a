"""Tau-normalised classifier (Kang et al., ICLR 2020, equation 4): rows of the head by their length to the power tau.

w_c / |w_c|^tau without a bias, at the end of the last round as planned: frequent classes have longer rows, which is
what favours them. Rows are then scaled by one common factor, so that their mean length, and with it the confidence of
the model, stays about the same; no prediction changes by that.
"""

from __future__ import annotations

import torch
from torch import nn

from roughfed.client.trainer.parts import Context, Hooks, Options, Plan
from roughfed.client.trainer.torch_types import bias_of, norm


def tau_norm(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; nothing before the last round."""

    def end() -> dict[str, float]:
        if context.round >= context.rounds:
            normalise(context.head().linear, float(options["tau"]))
        return {}

    return Hooks(end=end)


@torch.no_grad()
def normalise(linear: nn.Linear, tau: float) -> None:
    """Change a head [C, d] in place; a row of zeros stays."""
    lengths = norm(linear.weight, dim=1).clamp_min(1e-12)  # [C]
    factors = lengths**-tau
    factors *= lengths.mean() / (factors * lengths).mean()
    linear.weight.mul_(factors[:, None])
    if (bias := bias_of(linear)) is not None:
        bias.zero_()
