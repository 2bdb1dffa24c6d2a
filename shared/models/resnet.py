"""ResNet-8 and ResNet-18 for small images, with GroupNorm, or with BatchNorm for federations that keep it local."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from roughfed.models.nets.residual import Norm

Depth = tuple[tuple[int, ...], int]

EIGHT: Depth = ((16, 32, 64), 1)
"""Widths of the stages, and blocks in each: 77,754 parameters on 28 x 28 images in one colour with ten classes."""
EIGHTEEN: Depth = ((64, 128, 256, 512), 2)
"""11,172,810 parameters on the same images; 11,173,962 on the three colours of CIFAR-10."""


def resnet(depth: Depth, *, batch_norm: bool = False) -> Callable[[tuple[int, ...], int], nn.Module]:
    """A row of MODELS.

    Args:
        depth: EIGHT or EIGHTEEN.
        batch_norm: BatchNorm instead of GroupNorm. It cannot train on a batch of one example.
    """

    def build(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
        from roughfed.models.nets import residual

        if len(input_shape) != 3:
            cause = f"a ResNet wants images, got examples of shape {input_shape}"
            raise ConfigError(cause, key="model.name", cure="use 'mlp' or 'transformer'")
        norm: Norm = residual.batch_norm if batch_norm else residual.group_norm
        widths, blocks = depth
        return residual.ResNet(input_shape[0], num_outputs, widths, blocks, norm)

    return build
