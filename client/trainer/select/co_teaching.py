"""Co-teaching (Han et al., NeurIPS 2018, algorithm 1): each of two networks learns from what the other finds easy.

The mean is over the chosen examples. The reference divides the mean once more by their number: nothing to Adam, but
with plain SGD it would stop the training.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.model.peer import add_peer
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan
from roughfed.client.trainer.select._shared import Belief

PART = "co-teaching"


def co_teaching(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; options rate, ramp, warmup and per-class."""
    belief = Belief(options, context, PART)
    end = add_peer(context, PART)

    def select(losses: Tensor, _outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        own = torch.stack([belief.smallest(row, batch.y) for row in losses.detach()])  # [2, B]
        return losses, own.flip(0).to(losses.dtype)

    def keep() -> dict[str, float]:
        end()
        return {}

    return Hooks(epoch=belief.epoch, select=select, end=keep)
