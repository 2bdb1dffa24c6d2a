"""What the tests of these parts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from roughfed.client.trainer.examples.batches import Arrays
from roughfed.client.trainer.parts import Batch, Context
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.compose import Method
from roughfed.methods import read_method

C, D, B = 4, 6, 5
CPU = torch.device("cpu")
COUNTS = [40, 12, 3, 0]  # the last class is not here
LOCAL = [max(n, 1e-2) / (55 + 1e-2) for n in COUNTS]


def labels_for(counts: Sequence[int]) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def training(
    method: str = "plain",
    *,
    counts: Sequence[int] = COUNTS,
    model: nn.Module | None = None,
    x: Tensor | None = None,
    **more: Any,
) -> tuple[Method, Context]:
    """A method at work on random examples, [N, D] or as given."""
    torch.manual_seed(0)
    y = labels_for(counts)
    x = torch.randn(len(y), D) if x is None else x
    context = Context(
        model or nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), C)),
        Arrays(x, y, CPU),
        more.pop("settings", TrainerSettings()),
        C,
        torch.Generator().manual_seed(3),
        **more,
    )
    return Method(read_method(method), context), context


def batch_of(x: Tensor, y: Sequence[int], **more: Tensor) -> Batch:
    at = torch.arange(len(y))
    return Batch(x, torch.tensor(y), at, at, **more)
