"""What torch gives without a type, or with a wrong one, with its type: for the checker, nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn


def integers(values: Tensor) -> list[int]:
    """The elements of a tensor of whole numbers [N]."""
    return cast("list[int]", values.tolist())


def floats(values: Tensor) -> list[float]:
    """The elements of a tensor of real numbers [N]."""
    return cast("list[float]", values.tolist())


def distinct(values: Tensor) -> Tensor:
    """Those that differ, in ascending order."""
    return cast("Tensor", values.unique())


def norm(values: Tensor, dim: int | None = None) -> Tensor:
    """Euclidean length, of everything or along one dimension."""
    return cast("Tensor", values.norm(dim=dim))


def bias_of(linear: nn.Linear) -> nn.Parameter | None:
    """A layer without one holds None there, which torch does not say."""
    return linear.bias


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All layers with their places, the model itself first."""
    return cast("Iterator[tuple[str, nn.Module]]", model.named_modules())


def gradients_of(value: Tensor, params: Sequence[Tensor], *, create_graph: bool = False) -> Sequence[Tensor | None]:
    """The gradient along each parameter; None: the value does not depend on it."""
    return torch.autograd.grad(value, params, create_graph=create_graph, allow_unused=True)
