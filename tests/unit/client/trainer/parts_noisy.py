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

C, D, B = 4, 6, 7
CPU = torch.device("cpu")
T = torch.tensor([[0.7, 0.3, 0.0, 0.0], [0.1, 0.6, 0.2, 0.1], [0.0, 0.0, 1.0, 0.0], [0.0, 0.2, 0.2, 0.6]])


def training(
    method: str, *, labels: Sequence[int] = (0, 1, 2, 3) * 4, ids: Tensor | None = None, **more: Any
) -> tuple[Method, Context]:
    """A method at work on random examples, [N, D]."""
    generator = torch.Generator().manual_seed(5)
    y = torch.tensor(labels)
    model = more.pop("model", None)
    if model is None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(D, 5), nn.Tanh(), nn.Linear(5, C))
    source = Arrays(torch.randn(len(y), D, generator=generator), y, CPU, ids=ids)
    context = Context(model, source, TrainerSettings(), C, torch.Generator().manual_seed(3), **more)
    return Method(read_method(method), context), context


def everything(context: Context) -> Batch:
    return context.source.gather(torch.arange(context.source.num_examples))


def some_logits(seed: int = 0, rows: int = B) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 1.5 * torch.randn(rows, C, generator=generator), torch.randint(C, (rows,), generator=generator)


def slow_softmax(logits: Tensor) -> Tensor:
    exponents = (logits.double() - logits.double().max(dim=1, keepdim=True).values).exp()
    return exponents / exponents.sum(dim=1, keepdim=True)
