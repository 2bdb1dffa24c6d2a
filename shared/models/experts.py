"""Several heads on one trunk: the shape of RIDE (Wang et al., ICLR 2021) and SADE (Zhang et al., NeurIPS 2022).

What makes the heads differ is how they are trained (`client/trainer/ensemble`); here is only how they are run.
Differs: the papers give each expert a last stage of its own; here the experts are linear heads, so that every listed
model can have them and one more costs next to nothing.

B is the batch, K the number of experts, C the number of outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from roughfed.errors import ConfigError


class Experts(nn.Module):
    """K heads on one trunk. It answers with the mean of their logits."""

    def __init__(self, trunk: nn.Module, heads: Sequence[nn.Module]) -> None:
        """Join them.

        Args:
            trunk: [B, ...] -> features [B, D].
            heads: K of them, each [B, D] -> [B, C].
        """
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(heads)

    def each(self, x: Tensor) -> Tensor:
        """The logits of every expert, [K, B, C]."""
        features = self.trunk(x)
        return torch.stack([head(features) for head in self.heads])

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the experts' logits, [B, C]."""
        return self.each(x).mean(dim=0)


def with_experts(model: nn.Module, count: int, num_outputs: int) -> Experts:
    """Turn a model into a trunk with `count` heads; its own last layer becomes the first of them.

    The others are drawn from torch's global generator.

    Args:
        model: ends in an nn.Linear, which is its module that was registered last. It is taken apart.
        count: K, at least 1.
        num_outputs: C.

    Raises:
        ConfigError: the model does not end in a linear layer with C outputs.
    """
    name, last = list(cast("Iterator[tuple[str, nn.Module]]", model.named_modules()))[-1]
    if not name or not isinstance(last, nn.Linear) or last.out_features != num_outputs:
        cause = f"{type(model).__name__} ends in {type(last).__name__}, no linear layer with {num_outputs} outputs"
        raise ConfigError(cause, key="model.experts", cure="write experts = 1")
    model.set_submodule(name, nn.Identity())
    bias = "bias" in dict(last.named_parameters())
    more = [nn.Linear(last.in_features, num_outputs, bias=bias) for _ in range(count - 1)]
    return Experts(model, [last, *more])
