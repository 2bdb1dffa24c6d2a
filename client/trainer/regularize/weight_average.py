"""The mean of the weights along the way (Polyak & Juditsky, 1992; Tarvainen & Valpola, NeurIPS 2017, section 2).

With a constant learning rate the last step is one of a cloud around the minimum; the mean lies nearer to it, and has
learnt less by heart of what pulled the steps hither and thither. After the last step it takes the model's place, before
others adjust the head or look at the model.

The running mean starts afresh in every training, at its first weights, and the decay grows with the steps,
min(decay, (1 + t) / (10 + t)), so that a short round is not held at its beginning. Buffers stay those of the last step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.optimize.sgd import add_, mul_
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan


def weight_average(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; option decay."""
    most = float(options["decay"])
    trained = [p for p in context.model.parameters() if p.requires_grad]
    mean: list[Tensor] = []

    def begin() -> None:  # after a loss has set its head
        mean[:] = [p.detach().clone() for p in trained]

    @torch.no_grad()
    def after(_outputs: Outputs, _batch: Batch) -> None:
        decay = min(most, (1 + context.at.step) / (10 + context.at.step))
        mul_(mean, decay)
        add_(mean, [p.detach() for p in trained], alpha=1 - decay)

    @torch.no_grad()
    def settle() -> None:
        for p, average in zip(trained, mean, strict=True):
            p.copy_(average)

    return Hooks(begin=begin, after=after, settle=settle)
