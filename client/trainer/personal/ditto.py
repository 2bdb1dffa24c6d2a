"""Ditto (Li et al., ICML 2021, https://arxiv.org/abs/2012.04221, algorithm 1): a second model that is held near.

Beside the common model w a client trains v on the same batches: v <- v - lr (grad F(v) + lambda (v - w_t)), w_t the
global parameters of the round. Only w's update is sent; v lies in the state and goes on from round to round. lambda = 0
is a model trained alone, a large lambda the common one.

Differs: v takes one step for each of w's instead of a number of its own, and by the method's optimizer, momentum and
all, which adds lambda (v - w_t) to the gradient; the paper's steps are plain. A client's first v is the model of the
round in which it trains first.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from roughfed.client.trainer.optimize.optimizer import optimizer_for
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan

PART = "ditto"


def ditto(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; option lambda."""
    state, pull = context.state(PART), float(options["lambda"])
    own: list[nn.Module] = []
    step: list[Step] = []
    seen: list[Batch] = []

    def begin() -> None:
        own[:] = [copy.deepcopy(context.model)]
        if state:
            own[0].load_state_dict(state, strict=False)  # extra state is no tensor, and not kept
        own[0].train()
        step[:] = [Step(own[0], context, plan, pull)]

    def transform(batch: Batch) -> Batch:
        seen[:] = [batch]  # as it is after all that changes it: both models learn from the same
        return batch

    def after(_outputs: Outputs, _given: Batch) -> None:
        step[0].take(seen[0])

    def end() -> dict[str, float]:
        named = {name: t for name, t in own[0].state_dict().items() if isinstance(t, Tensor)}
        state.update({name: tensor.detach().clone() for name, tensor in named.items()})
        return {}

    def use() -> int:
        if state:
            context.model.load_state_dict(state, strict=False)
        return 0

    return Hooks(begin=begin, transform=transform, after=after, end=end, use=use)


class Step:
    """Steps of v."""

    def __init__(self, net: nn.Module, context: Context, plan: Plan, pull: float) -> None:
        """`pull`: lambda."""
        self._net, self._context, self._plan, self._pull = net, context, plan, pull
        rows = zip(net.parameters(), context.global_parameters(), strict=True)
        self._rows = [(p, anchor) for p, anchor in rows if p.requires_grad]
        self._optimizer = optimizer_for(context.settings, [p for p, _ in self._rows])

    def take(self, batch: Batch) -> None:
        """One step on a batch."""
        self._optimizer.zero_grad()
        mean_loss(self._plan, self._net, batch).backward()
        with torch.no_grad():
            for p, anchor in self._rows:
                if p.grad is not None:
                    p.grad.add_(p - anchor, alpha=self._pull)
        self._optimizer.lr = self._context.at.lr
        self._optimizer.step()


def mean_loss(plan: Plan, net: nn.Module, batch: Batch) -> Tensor:
    """The method's loss of another network on a batch, scalar; weighted as the batch says."""
    losses = plan.losses(plan.run(net, batch.x), batch)
    if batch.weight is None:
        return losses.mean()
    return (batch.weight * losses).sum() / batch.weight.sum().clamp_min(1e-12)
