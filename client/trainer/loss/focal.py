"""Focal loss (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def focal_loss(options: Options, _context: Context, _plan: Plan) -> Hooks:
    """The part."""
    gamma = float(options["gamma"])
    return Hooks(loss=lambda output, batch: focal(output, batch.y, gamma))


def focal(output: Tensor, target: Tensor, gamma: float) -> Tensor:
    """(1 - p_t)^gamma * -log p_t.

    Args:
        output: logits [B, C].
        target: int64 [B].
        gamma: 0 is cross-entropy.

    Returns:
        float32 [B], in nats, 0 or more.
    """
    entropy = functional.cross_entropy(output.float(), target, reduction="none")
    missing = -torch.expm1(-entropy)  # 1 - p_t, exact where p_t is close to 1
    return missing.clamp_min(1e-7) ** gamma * entropy  # at 0 the root's slope would be infinite
