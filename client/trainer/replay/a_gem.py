"""A-GEM (Chaudhry et al., "Efficient lifelong learning with A-GEM", ICLR 2019, equation 11).

The reference gradient is that of a draw from the whole memory (a reservoir that is filled as the examples come), not of
one batch a task.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.examples.replay_gradients import flat_grad, grad_of, learning, memory_of, set_grad
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def a_gem(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; option batch."""
    memory, count, params = memory_of(context), int(options["batch"]), learning(context)

    def gradient() -> None:
        past = memory.draw(count)
        if len(past):
            reference = grad_of(plan.value(past)[0], params)
            set_grad(params, project(flat_grad(params), reference))

    return Hooks(gradient=gradient)


def project(gradient: Tensor, reference: Tensor) -> Tensor:
    """The nearest vector along which the reference loss does not rise.

    Args:
        gradient: g, [D].
        reference: r, [D].

    Returns:
        g where g . r >= 0, else g - (g . r / r . r) r; [D].
    """
    along = torch.dot(gradient, reference)
    share = along.clamp_max(0) / torch.dot(reference, reference).clamp_min(torch.finfo(reference.dtype).tiny)
    return gradient - share * reference
