"""The form in which a memory holds its examples: whole or at half resolution, in bytes where the data allow.

M examples, B batch, K channels, H and W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.parts import Batch

LEVELS = 255
IMAGE = 4  # dimensions of a batch of images, [B, K, H, W]


class Form:
    """What is done to inputs on their way into a memory, and undone on their way out.

    Images of floats become bytes, each image with an offset and a step of its own: a value then lies at most half a
    step, (max - min) / 510, from what it was, and what an example costs is a quarter. Rows of a table keep their floats
    (their columns differ too much in scale), tokens their integers.
    """

    def __init__(self, *, halved: bool = False) -> None:
        """With `halved`, images are averaged over 2 x 2 pixels and enlarged again when they are drawn."""
        self._halved = halved

    def capacity(self, slots: int, shape: Sequence[int]) -> int:
        """How many examples of a shape fit in the bytes of so many whole ones."""
        return slots * math.prod(shape) // math.prod(self.shape(shape))

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The stored shape of an example."""
        if not self._halved:
            return tuple(shape)
        return (*shape[:-2], -(-shape[-2] // 2), -(-shape[-1] // 2))

    def pack(self, x: Tensor) -> dict[str, Tensor]:
        """Columns of a memory for inputs [B, ...]."""
        return self.store(shrink(x) if self._halved else x)

    def seen(self, batch: Batch) -> Batch:
        """A batch of new examples in this form; at half resolution the model sees nothing else.

        Otherwise it tells remembered from new examples by how sharp they are, and takes every sharp image for one of
        the newest classes.
        """
        if not self._halved:
            return batch
        return replace(batch, x=enlarge(shrink(batch.x.float()), batch.x.shape[-2:]).to(batch.x.dtype))

    def store(self, x: Tensor) -> dict[str, Tensor]:
        """The same for inputs that have their stored shape already."""
        if not (x.dim() == IMAGE and x.is_floating_point()):
            return {"x": x}
        flat = x.float().flatten(1)
        low, high = flat.min(dim=1).values, flat.max(dim=1).values  # [B]
        step = ((high - low) / LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
        codes = ((flat - low[:, None]) / step[:, None]).round().clamp(0, LEVELS)
        return {"x": codes.to(torch.uint8).reshape(x.shape), "low": low, "step": step}

    def unpack(self, rows: dict[str, Tensor], like: Tensor) -> Tensor:
        """Inputs [B, ...] of rows of a memory; `like` [n, ...] has the shape and type of the training's inputs."""
        x = rows["x"]
        if "step" in rows:
            shape = (-1, *[1] * (x.dim() - 1))
            x = x.float() * rows["step"].reshape(shape) + rows["low"].reshape(shape)
        if self._halved:
            x = enlarge(x.float(), like.shape[-2:])
        return x.to(like.dtype)


def shrink(x: Tensor) -> Tensor:
    """Images [B, K, H, W] averaged over 2 x 2 pixels, [B, K, ceil(H / 2), ceil(W / 2)]."""
    return functional.avg_pool2d(x, 2, ceil_mode=True)


def enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    """Images at another resolution (H, W), between pixels linearly."""
    return functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
