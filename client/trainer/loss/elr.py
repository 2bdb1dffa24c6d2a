"""Early-learning regularisation (Liu et al., NeurIPS 2020, equations 6 and 9): CE + lambda log(1 - <t, p>).

t is the running mean of an example's own predictions, t <- beta t + (1 - beta) p. The second term is negative and falls
as p comes near t: what was learnt early holds against a wrong label that would be learnt later.

Targets are kept by the example's id, so that they survive rounds, a new order, and data that grow. With two networks
both move them. Differs: an example without targets (of a memory, say) has the cross-entropy alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.examples.views import ById, ids_of
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Plan

CLAMP = 1e-4  # p stays this far from 0 and 1, as in the reference


def elr_loss(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; options beta and lambda."""
    beta, weight = float(options["beta"]), float(options["lambda"])
    targets = ById(context.state("elr"), ids_of(context.source), context.num_classes)

    def loss(output: Tensor, batch: Batch) -> Tensor:
        at, known = targets.find(batch.ids)
        p = output.float().softmax(dim=1).clamp(CLAMP, 1 - CLAMP)
        with torch.no_grad():
            own = p / p.sum(dim=1, keepdim=True)
            targets.rows[at[known]] = beta * targets.rows[at[known]] + (1 - beta) * own[known]
            target = targets.rows[at] * known[:, None]
        return functional.cross_entropy(output.float(), batch.y, reduction="none") + weight * early_term(p, target)

    return Hooks(loss=loss)


def early_term(p: Tensor, target: Tensor) -> Tensor:
    """log(1 - <t, p>) by example: float32 [B], 0 or below; p and target are [B, C]."""
    return (1 - (target * p).sum(dim=1)).clamp_min(CLAMP).log()
