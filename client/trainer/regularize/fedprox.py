"""FedProx (Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020, equation 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan


def fedprox(options: Options, context: Context, _plan: Plan) -> Hooks:
    """Add mu/2 * ||w - w_t||^2 over the trainable parameters, w_t the global ones of this round."""
    mu = float(options["mu"])

    def term(_outputs: Outputs, _batch: Batch) -> Tensor:
        pairs = zip(context.model.parameters(), context.global_parameters(), strict=True)
        parts = [(p - start).square().sum() for p, start in pairs if p.requires_grad]
        return 0.5 * mu * torch.stack(parts).sum()

    def begin() -> None:
        context.global_parameters()  # before the first step moves them

    return Hooks(begin=begin, term=term)
