"""Symmetric cross-entropy (Wang et al., ICCV 2019, equations 6-7): alpha CE + beta RCE.

The reverse part -sum_k p_k log t_k has log 0 := log 1e-4 for the classes that the label is not, so it is
(1 - p_y) * -log 1e-4: an absolute error.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.parts import Context, Hooks, Options, Plan

ZERO = 1e-4


def sce_loss(options: Options, _context: Context, _plan: Plan) -> Hooks:
    """The part; options alpha and beta."""
    alpha, beta = float(options["alpha"]), float(options["beta"])
    return Hooks(loss=lambda output, batch: sce(output, batch.y, alpha, beta))


def sce(output: Tensor, target: Tensor, alpha: float, beta: float) -> Tensor:
    """The loss by example.

    Args:
        output: logits, any float type [B, C].
        target: class numbers, int64 [B].
        alpha: weight of the cross-entropy.
        beta: weight of the reverse one.

    Returns:
        float32 [B], 0 or more.
    """
    loss = functional.cross_entropy(output.float(), target, reduction="none")
    return alpha * loss + beta * -math.log(ZERO) * (1 - (-loss).exp())
