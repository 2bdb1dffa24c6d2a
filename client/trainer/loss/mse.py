"""Squared error."""

from __future__ import annotations

from torch import Tensor

from roughfed.client.trainer.parts import Context, Hooks, Options, Plan
from roughfed.errors import ConfigError


def mse_loss(_options: Options, _context: Context, _plan: Plan) -> Hooks:
    """The part."""
    return Hooks(loss=lambda output, batch: mse(output, batch.y))


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Squared error, averaged over the outputs of an example.

    Args:
        output: any float type, [B], [B, 1] or [B, ...].
        target: the same number of values per example. [B] and [B, 1] are the same thing here; broadcasting one against
            the other would silently compare every example with every other.

    Returns:
        float32 [B], 0 or more, in the target's unit squared.

    Raises:
        ConfigError: output and target differ in size.
    """
    difference = residual(output, target)
    return difference.square().mean(dim=1)  # [B]


def residual(output: Tensor, target: Tensor) -> Tensor:
    """Output minus target, float32 [B, K] with K values per example."""
    if len(output) != len(target) or output.numel() != target.numel():
        raise ConfigError(
            f"the model gives {tuple(output.shape)}, the target is {tuple(target.shape)}",
            key="model",
            cure="one output per target value",
        )
    return output.float().reshape(len(output), -1) - target.float().reshape(len(target), -1)
