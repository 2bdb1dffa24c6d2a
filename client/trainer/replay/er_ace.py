"""ER-ACE (Caccia et al., "New insights on reducing abrupt representation change in online continual learning", 2022).

New examples compete only with the classes that come with them (equation 3), so that they do not push older classes
away; remembered examples with all. Differs: two means are added, as in `er`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.examples.replay_gradients import is_past, memory_of, replayed_value
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan

ABSENT = -1e9


def er_ace(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; options batch and weight."""
    memory, count, weight = memory_of(context), int(options["batch"]), float(options["weight"])
    inner = plan.loss

    def loss(output: Tensor, batch: Batch) -> Tensor:
        return inner(output if is_past(batch) else among_present(output, batch), batch)

    def term(_outputs: Outputs, _batch: Batch) -> Tensor:
        return weight * replayed_value(context, plan, memory.draw(count))

    return Hooks(loss=loss, term=term)


def among_present(output: Tensor, batch: Batch) -> Tensor:
    """The logits, [B, C] or [K, B, C], with those of classes that the batch lacks out of reach."""
    present = torch.zeros(output.shape[-1], dtype=torch.bool, device=output.device)
    for labels in (batch.y, batch.other):
        if labels is not None:
            present[labels] = True
    return output.float().masked_fill(~present, ABSENT)
