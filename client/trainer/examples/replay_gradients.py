"""What the replays share: the memory of a method, and gradients as one vector. B batch, C classes, D parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from roughfed.client.trainer.parts import Batch, Context, Memory, Plan
from roughfed.errors import ConfigError


def memory_of(context: Context) -> Memory:
    """The memory that the method brought.

    Raises:
        ConfigError: it brought none, which the table of parts rules out.
    """
    if context.memory is None:
        raise ConfigError("a replay without a memory", key="trainer.method", cure="add reservoir")
    return context.memory


def replayed_value(context: Context, plan: Plan, batch: Batch) -> Tensor:
    """The method's value on remembered examples, a scalar; 0 without any."""
    if not len(batch):
        return torch.zeros((), device=context.device)
    return plan.value(batch)[0]


def is_past(batch: Batch) -> bool:
    """Whether a batch came from a memory: those have noted logits, or places for them."""
    return batch.logits is not None


def learning(context: Context) -> list[Tensor]:
    """The parameters that learn, of every network."""
    return [p for net in context.nets for p in net.parameters() if p.requires_grad]


def flat_grad(params: Sequence[Tensor]) -> Tensor:
    """`.grad` of all as one vector, float32 [D]; zeros where there is none."""
    return flat([p.grad for p in params], params)


def grad_of(value: Tensor, params: Sequence[Tensor]) -> Tensor:
    """The gradient of a scalar as one vector, float32 [D]; `.grad` stays as it is."""
    return flat(torch.autograd.grad(value, params, allow_unused=True), params)


def flat(parts: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    """One vector of tensors, zeros for None."""
    pairs = zip(parts, like, strict=True)
    return torch.cat([(torch.zeros_like(p) if part is None else part).reshape(-1).float() for part, p in pairs])


def set_grad(params: Sequence[Tensor], vector: Tensor) -> None:
    """Write a vector, float32 [D], to `.grad`."""
    at = 0
    for p in params:
        p.grad = vector[at : at + p.numel()].reshape(p.shape).to(p.dtype)
        at += p.numel()
