"""Two examples made one: what augmentations that mix have in common. B batch, H height, W width.

`Batch.share` is the part of the first label; the loop blends the two losses by it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from roughfed.client.trainer.parts import Batch, Context
from roughfed.errors import ConfigError

Box = tuple[int, int, int, int]
"""Top, bottom, left and right edge, in pixels; bottom and right lie outside."""


def numpy_draws(context: Context) -> np.random.Generator:
    """A generator that follows from the training's own: torch draws no Beta from a generator of one's choice."""
    seed = torch.randint(2**62, (1,), generator=context.generator)
    return np.random.default_rng(int(seed))


def beta_share(alpha: float, rng: np.random.Generator) -> float:
    """A draw from Beta(alpha, alpha), 0..1; alpha above 0."""
    return float(rng.beta(alpha, alpha))


def blend(batch: Batch, second: Batch, share: float) -> Tensor:
    """Share * x + (1 - share) * second, [B, ...].

    Raises:
        ConfigError: the inputs are token ids, which have no middle.
    """
    if not batch.x.is_floating_point():
        raise ConfigError("whole numbers cannot be blended", key="trainer.method", cure="leave mixup and remix out")
    return share * batch.x + (1 - share) * second.x


def draw_box(height: int, width: int, share: float, rng: np.random.Generator) -> Box:
    """A box of about (1 - share) of an image, its centre anywhere, cut at the border (Yun et al., equation 3)."""
    side = np.sqrt(max(0.0, 1.0 - share))
    tall, wide = int(height * side), int(width * side)
    row, column = int(rng.integers(height)), int(rng.integers(width))
    top, bottom = max(0, row - tall // 2), min(height, row + tall // 2)
    left, right = max(0, column - wide // 2), min(width, column + wide // 2)
    return top, bottom, left, right


def paste(batch: Batch, second: Batch, box: Box) -> Batch:
    """The box of each second image [B, channels, H, W] pasted on the first; `share` is what is left of the first."""
    top, bottom, left, right = box
    x = batch.x.clone()
    x[:, :, top:bottom, left:right] = second.x[:, :, top:bottom, left:right]
    height, width = x.shape[-2:]
    return mixed(batch, x, second, 1.0 - (bottom - top) * (right - left) / (height * width))


def mixed(batch: Batch, x: Tensor, second: Batch, share: float | Tensor) -> Batch:
    """A batch of the inputs `x` with two labels; `share` is a number or float32 [B]."""
    shares = torch.as_tensor(share, dtype=torch.float32, device=batch.x.device).expand(len(batch))
    return replace(batch, x=x, other=second.y, share=shares)


def shuffled(batch: Batch, context: Context) -> Batch:
    """The same examples in another order."""
    return batch.take(torch.randperm(len(batch), generator=context.generator).to(batch.y.device))
