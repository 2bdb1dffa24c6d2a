"""Holding parameters where earlier tasks left them: what importance-weighted penalties share. D parameters.

When a task ends is known only when the next one begins: at the end of each training a part leaves what it will need,
and takes it up when the task has changed. Without tasks (`Context.task` -1) every round ends one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from roughfed.client.trainer.parts import Context, Tensors


def task_ended(context: Context, state: Tensors) -> bool:
    """Whether an earlier training ended a task; notes the task of this one."""
    before = state.get("task")
    state["task"] = torch.tensor(context.task, dtype=torch.int64)
    return before is not None and (context.task < 0 or int(before) != context.task)


def parameters(context: Context) -> list[Tensor]:
    """The model's parameters that learn."""
    return [p for p in context.model.parameters() if p.requires_grad]


def vector(parts: Sequence[Tensor]) -> Tensor:
    """One vector, float32 [D], of copies."""
    return torch.cat([part.detach().reshape(-1).float() for part in parts])


@torch.no_grad()
def pull(params: Sequence[Tensor], anchor: Tensor, stiffness: Tensor) -> None:
    """Go the step of the penalty sum(k (w - a)^2) / 2, with stiffness times learning rate s = lr k.

    Taken implicitly, w <- w + (a - w) s / (1 + s): for small s that is the gradient's step, for large s it goes to the
    anchor, where the gradient's step would overshoot and, from s = 2 on, diverge.

    Args:
        params: w, changed in place.
        anchor: a, float32 [D].
        stiffness: s, float32 [D], 0 or more.
    """
    at, share = 0, stiffness / (1 + stiffness)
    for p in params:
        part = slice(at, at + p.numel())
        p.add_(((anchor[part].reshape(p.shape) - p) * share[part].reshape(p.shape)).to(p.dtype))
        at += p.numel()


def learning_rate(context: Context) -> float:
    """Of the step that is being made."""
    return context.settings.lr_at(context.round, context.progress)
