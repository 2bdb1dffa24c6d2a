"""JoCoR (Wei et al., CVPR 2020, equations 1-4): two networks agree, and what they agree on is believed.

By example (1 - lambda) (l1 + l2) + lambda (KL(p1|p2) + KL(p2|p1)); both learn from the smallest of these.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.model.peer import add_peer
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan
from roughfed.client.trainer.select._shared import Belief

PART = "jocor"


def jocor(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; options lambda, rate, ramp, warmup and per-class."""
    weight = float(options["lambda"])
    belief = Belief(options, context, PART)
    end = add_peer(context, PART)

    def select(losses: Tensor, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        apart = disagreement(outputs[0], outputs[1])  # [B]
        joint = (1 - weight) * losses + 0.5 * weight * apart  # [2, B]; the step adds the two networks' means up
        chosen = belief.smallest(joint.detach().sum(dim=0), batch.y).to(losses.dtype)
        return joint, torch.stack([chosen, chosen])

    def keep() -> dict[str, float]:
        end()
        return {}

    return Hooks(epoch=belief.epoch, select=select, end=keep)


def disagreement(one: Tensor, other: Tensor) -> Tensor:
    """KL(p1|p2) + KL(p2|p1) = sum_k (p1 - p2)(log p1 - log p2) of logits [B, C]: float32 [B], 0 or more."""
    a, b = (functional.log_softmax(logits.float(), dim=1) for logits in (one, other))
    return ((a.exp() - b.exp()) * (a - b)).sum(dim=1)
