"""Models with experts: what the ensembles ask of them. K experts, B batch, C classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from roughfed.client.trainer.parts import Context
from roughfed.errors import ConfigError


def run_each(net: nn.Module, x: Tensor) -> Tensor:
    """The logits of each expert, [K, B, C]."""
    each: Any = net.each
    return each(x)


@torch.no_grad()
def count_experts(context: Context) -> int:
    """K of the model in training, by a look at what it gives.

    Raises:
        ConfigError: its `each` does not give [K, B, C].
    """
    x = next(iter(context.source.epoch(2, None)))[0]
    context.model.eval()
    output = run_each(context.model, x)
    if output.dim() != 3 or output.shape[1:] != (len(x), context.num_classes):
        raise ConfigError(f"each expert's logits have the shape {tuple(output.shape)}", key="model", cure="[K, B, C]")
    return len(output)
