"""Dark experience replay (Buzzega et al., "Dark experience for general continual learning", NeurIPS 2020).

DER (equation 4) adds alpha times the squared distance to the logits that were noted when an example was kept, DER++
(equation 6) also beta times the loss of a second draw. The logits are those of the step in which the example came, in
training mode, the image is the one that was not augmented. An example that was mixed with another one has logits of its
own computed for it. Rows without logits (kept by a method that noted none) count in the second draw only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.examples.replay_buffer import logits_of
from roughfed.client.trainer.examples.replay_gradients import memory_of, replayed_value
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan


def der(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part without remembered labels; options batch and alpha."""
    return _dark(options, context, plan, beta=0.0)


def der_plus_plus(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part with remembered labels; options batch, alpha and beta."""
    return _dark(options, context, plan, beta=float(options["beta"]))


def _dark(options: Options, context: Context, plan: Plan, *, beta: float) -> Hooks:
    memory, count, alpha = memory_of(context), int(options["batch"]), float(options["alpha"])
    memory.noting = True

    def term(_outputs: Outputs, _batch: Batch) -> Tensor:
        value = alpha * drift(context, plan, memory.draw(count))
        return value + beta * replayed_value(context, plan, memory.draw(count)) if beta else value

    return Hooks(term=term)


def drift(context: Context, plan: Plan, past: Batch) -> Tensor:
    """The mean squared distance of the model's logits to those that were noted; 0 without any."""
    noted = past.logits
    if noted is None or not len(past):
        return torch.zeros((), device=context.device)
    known = noted.isfinite()  # [B, C]
    now = logits_of(plan.run(context.model, past.x)).float()
    square = (now - noted.nan_to_num()).square()
    return torch.where(known, square, 0.0).sum() / known.sum().clamp_min(1)
