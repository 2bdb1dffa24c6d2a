"""Generalised cross-entropy (Zhang & Sabuncu, NeurIPS 2018, equation 6): (1 - p_y^q) / q.

Between cross-entropy (q -> 0), which wrong labels pull most, and the absolute error (q = 1), which learns slowly.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def gce_loss(options: Options, _context: Context, _plan: Plan) -> Hooks:
    """The part; option q."""
    q = float(options["q"])
    return Hooks(loss=lambda output, batch: gce(output, batch.y, q))


def gce(output: Tensor, target: Tensor, q: float) -> Tensor:
    """The loss by example.

    Args:
        output: logits, any float type [B, C].
        target: class numbers, int64 [B].
        q: above 0, at most 1.

    Returns:
        float32 [B], 0 to 1/q.
    """
    loss = functional.cross_entropy(output.float(), target, reduction="none")
    return (1 - (-q * loss).exp()) / q  # p^q from the log: no power of a p that is 0
