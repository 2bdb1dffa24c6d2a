"""Cross-entropy of the softmax."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def cross_entropy_loss(_options: Options, _context: Context, _plan: Plan) -> Hooks:
    """The part."""
    return Hooks(loss=lambda output, batch: cross_entropy(output, batch.y))


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of the true class.

    Args:
        output: logits, any float type [B, C]; taken to float32, since half precision loses the small ones.
        target: class numbers, int64 [B].

    Returns:
        float32 [B], in nats, 0 or more.
    """
    return functional.cross_entropy(output.float(), target, reduction="none")
