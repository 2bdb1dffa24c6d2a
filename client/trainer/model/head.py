"""The classifier of a model: its last linear layer, and the features before it. B batch, d features, C classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from roughfed.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Head:
    """A model's last linear layer."""

    model: nn.Module
    linear: nn.Linear

    def with_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(features [B, d], logits [B, C]) of inputs [B, ...], with gradients as the caller has them."""
        seen: list[Tensor] = []

        def note(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0])

        handle = self.linear.register_forward_pre_hook(note)
        try:
            output = self.model(x)
        finally:
            handle.remove()
        return seen[-1], output


def find_head(model: nn.Module, num_classes: int) -> Head:
    """The last `nn.Linear` with an output for each class, in the order of the model's modules.

    Raises:
        ConfigError: there is none, or it has no input of the shape [B, d].
    """
    found = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == num_classes]
    if not found:
        raise ConfigError(
            f"no linear layer of this model has {num_classes} outputs",
            key="model",
            cure="end the model in nn.Linear(d, C), or leave out parts that need a head",
        )
    return Head(model, found[-1])


@torch.no_grad()
def ends_in_head(model: nn.Module, x: Tensor, num_classes: int) -> bool:
    """Whether the logits of `x` [B, ...] are exactly what the model's last linear layer gives."""
    try:
        head = find_head(model, num_classes)
        features, output = head.with_features(x)
    except (ConfigError, IndexError):
        return False
    return features.dim() == 2 and torch.equal(head.linear(features), output)
