"""Residual networks for small images (He et al., CVPR 2016, https://arxiv.org/abs/1512.03385, section 4.2).

Differs: no pooling behind the first convolution, as the paper does for 32 x 32 images, for every depth; where a block
changes its shape the shortcut is a 1 x 1 convolution with a norm (the paper's option B). The mean over the last
feature map is a plain mean: the gradient of torch's adaptive pooling is not deterministic on a GPU.

B is the batch, H and W the image, C the number of outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

CHANNELS_PER_GROUP = 16  # Wu & He, ECCV 2018, table 3: the fixed number that did best

Norm = Callable[[int], nn.Module]


def group_norm(channels: int) -> nn.Module:
    """The norm that looks at one example only: nothing of it depends on the batch, or has to be averaged."""
    return nn.GroupNorm(max(1, channels // CHANNELS_PER_GROUP), channels)


def batch_norm(channels: int) -> nn.Module:
    """The norm over the batch; its running statistics belong to one client's data (see FedBN)."""
    return nn.BatchNorm2d(channels)


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int, norm: Norm) -> None:
        """From `channels` to `width` feature maps; stride 2 halves them."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = norm(width)
        same = stride == 1 and channels == width
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(channels, width, 1, stride=stride, bias=False), norm(width))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> [B, width, H / stride, W / stride], rounded up."""
        out = self.norm1(self.conv1(x)).relu()
        return (self.norm2(self.conv2(out)) + self.shortcut(x)).relu()


class ResNet(nn.Module):
    """A stem, stages of blocks, the mean of what is left, and a linear layer."""

    def __init__(self, channels: int, num_outputs: int, widths: Sequence[int], blocks: int, norm: Norm) -> None:
        """Stage i has `blocks` blocks of `widths[i]` feature maps; every stage but the first halves them."""
        super().__init__()
        self.conv = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.norm = norm(widths[0])
        stages = [_stage(widths[0], widths[0], blocks, 1, norm)]
        stages += [_stage(before, width, blocks, 2, norm) for before, width in pairwise(widths)]
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(widths[-1], num_outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> [B, C]."""
        x = cast(Tensor, self.norm(self.conv(x))).relu()
        return self.fc(self.stages(x).mean(dim=(2, 3)))


def _stage(channels: int, width: int, blocks: int, stride: int, norm: Norm) -> nn.Module:
    first = Block(channels, width, stride, norm)
    return nn.Sequential(first, *(Block(width, width, 1, norm) for _ in range(blocks - 1)))
