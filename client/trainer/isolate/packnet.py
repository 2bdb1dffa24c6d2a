"""PackNet (Mallya and Lazebnik, CVPR 2018): every task has weights of its own, those of earlier tasks are frozen.

In a task's first training all free weights learn; when a share `1 - retrain` of its steps is over, the smallest of
each layer are set to zero and are free again (section 3.1), the others are the task's and go on learning. In the task's
later trainings only its own weights learn. Biases and norms learn in the first task only; of the last layer each task
has the rows of its classes.

To predict for a task, whoever does it must say which, and use that task's weights (`model_of_task`):
task-incremental, not class-incremental. What the server evaluates is all weights at once, and good for the newest task
only. In a federation the delta of earlier tasks' weights is zero: a client's earlier tasks are safe from its own later
ones, but not from other clients, who prune by weights of their own. With many clients a replay is what works.

Differs: when a task ends is not known before the next one begins, so pruning does not wait for its end.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan, Tensors
from roughfed.client.trainer.torch_types import integers

FREE = 0
PART = "packnet"


def packnet(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; options prune and retrain."""
    packed = Packed(context, prune=float(options["prune"]), retrain=float(options["retrain"]))

    def after(_outputs: Outputs, _given: Batch) -> None:
        packed.after()

    return Hooks(begin=packed.begin, after=after, end=packed.end)


class Packed:
    """One training of a task. What a weight belongs to is its owner: FREE, or 1, 2, ... in the order of the tasks."""

    def __init__(self, context: Context, *, prune: float, retrain: float) -> None:
        """Take up the state; nothing is changed before `begin`."""
        self._context, self._share, self._state = context, 1 - prune, context.state(PART)
        self._prune_at = max(1, round((1 - retrain) * context.at.steps))
        self._pruned, self._mine = False, FREE
        self._base: list[Tensor] = []
        self._fixed: list[Tensor] = []

    def begin(self) -> None:
        """Hide what this task may not see."""
        context, state = self._context, self._state
        self._mine, first_time = order_of(state, context.task)
        self._pruned = not first_time
        if "0" not in state:
            state.update(
                {str(at): torch.zeros_like(p, dtype=torch.int8) for at, p in enumerate(_params(context.model))}
            )
        for at, p in enumerate(_params(context.model)):
            state[str(at)] = state[str(at)].to(p.device)
        self._claim()
        self._base = [p.detach().clone() for p in _params(context.model)]
        self._hide()

    @torch.no_grad()
    def after(self) -> None:
        """Put back what may not learn, whatever momentum or decay made of it; prune when it is time."""
        for at, (p, fixed) in enumerate(zip(_params(self._context.model), self._fixed, strict=True)):
            p.copy_(torch.where(self._learns(at), p, fixed))
        if not self._pruned and self._context.at.step + 1 >= self._prune_at:
            self._prune()

    @torch.no_grad()
    def end(self) -> dict[str, float]:
        """Show everything again; what was hidden is as it was."""
        if not self._pruned:
            self._prune()
        for at, (p, base) in enumerate(zip(_params(self._context.model), self._base, strict=True)):
            owner = self._state[str(at)]
            p.copy_(torch.where(self._learns(at) | ((owner == FREE) & (self._fixed[at] == 0)), p, base))
        return {}

    def _learns(self, at: int) -> Tensor:
        owner = self._state[str(at)]
        return (owner == self._mine) | ((owner == FREE) & (not self._pruned))

    def _claim(self) -> None:
        """In its first training a task takes the rows of its classes, and the first task what is never divided."""
        if self._pruned:
            return
        head, here = self._context.head().linear, self._context.counts() > 0
        for at, p in enumerate(_params(self._context.model)):
            owner = self._state[str(at)]
            if p is head.weight or p is head.bias:
                rows = here[:, None] if p.dim() == 2 else here
                owner[(owner == FREE) & rows.expand_as(owner)] = self._mine
            elif p.dim() < 2 and self._mine == 1:
                owner.fill_(self._mine)

    @torch.no_grad()
    def _hide(self) -> None:
        """Weights of later tasks, and free ones that this task has given up, are zero while it trains."""
        self._fixed = []
        for at, (p, base) in enumerate(zip(_params(self._context.model), self._base, strict=True)):
            visible = self._visible(at, p)
            self._fixed.append(torch.where(visible, base, 0.0).to(p.dtype))
            p.copy_(self._fixed[at])

    def _visible(self, at: int, p: Tensor) -> Tensor:
        owner = self._state[str(at)]
        if not is_divided(p, self._context.head().linear):
            return torch.ones_like(owner, dtype=torch.bool)
        return ((owner > FREE) & (owner <= self._mine)) | ((owner == FREE) & (not self._pruned))

    def _prune(self) -> None:
        """The task keeps the largest of the free weights of each layer; the others are zero, and free."""
        self._pruned = True
        for at, p in enumerate(_params(self._context.model)):
            if not is_divided(p, self._context.head().linear):
                continue
            free = (self._state[str(at)] == FREE).reshape(-1).nonzero()[:, 0]
            size = p.detach().reshape(-1)[free].abs()
            kept = free[size.argsort(descending=True, stable=True)[: max(1, round(self._share * len(free)))]]
            self._state[str(at)].view(-1)[kept] = self._mine
            zero = self._state[str(at)] == FREE
            p[zero] = 0.0
            self._fixed[at][zero] = 0.0
            self._base[at][zero] = 0.0


def model_of_task(model: nn.Module, state: Tensors, task: int, num_classes: int) -> nn.Module:
    """A copy of the model with the weights that a task sees, to predict its classes with.

    Args:
        model: with the parameters of any time after the task.
        state: of this part.
        task: as the stream counts.
        num_classes: C.
    """
    from roughfed.client.trainer.model.head import find_head

    own = copy.deepcopy(model)
    head, number = find_head(own, num_classes).linear, order_of(dict(state), task)[0]
    with torch.no_grad():
        for at, p in enumerate(_params(own)):
            owner = state[str(at)].to(p.device)
            if is_divided(p, head):
                p[(owner == FREE) | (owner > number)] = 0.0
    return own


def order_of(state: Tensors, task: int) -> tuple[int, bool]:
    """The number of a task, from 1 in the order in which they came, and whether it comes for the first time."""
    known = integers(state.get("tasks", torch.zeros(0, dtype=torch.int64)))
    first_time = task not in known
    if first_time:
        known.append(task)
        state["tasks"] = torch.tensor(known, dtype=torch.int64)
    return known.index(task) + 1, first_time


def is_divided(p: Tensor, head: nn.Linear) -> bool:
    """Whether tasks share this tensor: weights of more than one dimension, without the last layer's."""
    return p.dim() >= 2 and p is not head.weight


def _params(model: nn.Module) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad]
