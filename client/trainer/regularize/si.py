"""Synaptic intelligence (Zenke et al., "Continual learning through synaptic intelligence", ICML 2017).

omega (equation 3) is the path integral of the loss's gradient along the steps of a task, Omega (equation 5) sums
omega / (distance^2 + xi) over the tasks, the penalty (equation 4) is c sum Omega (w - w*)^2. Negative contributions
count as 0. The gradient is that of the loss and its terms, the penalty's own left out. What aggregation adds between
the rounds of a federation is no step of this client: it counts in the distance, not along the path.

Differs: the penalty's step is taken implicitly after the step of the loss (`pull`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.examples.replay_gradients import flat_grad
from roughfed.client.trainer.model.importance_penalty import learning_rate, parameters, pull, task_ended, vector
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan

KEPT = ("path", "start", "importance", "anchor")


def si(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; options c and xi."""
    c, xi = float(options["c"]), float(options["xi"])
    state, params = context.state("si"), parameters(context)
    before: list[Tensor] = []

    def begin() -> None:
        ended = task_ended(context, state)
        for name in KEPT:
            if name in state:
                state[name] = state[name].to(context.device)
        now = vector(params)
        if ended and "path" in state:
            worth = importance(state.pop("path"), now - state.pop("start"), xi)
            state["importance"] = state.get("importance", torch.zeros_like(worth)) + worth
            state["anchor"] = now
        state.setdefault("start", now)
        state.setdefault("path", torch.zeros_like(now))

    def gradient() -> None:
        before[:] = [flat_grad(params), vector(params)]

    def after(_outputs: Outputs, _given: Batch) -> None:
        if "importance" in state:
            pull(params, state["anchor"], 2 * learning_rate(context) * c * state["importance"])
        grad, old = before
        state["path"] -= grad * (vector(params) - old)

    return Hooks(begin=begin, gradient=gradient, after=after)


def importance(path: Tensor, distance: Tensor, xi: float) -> Tensor:
    """What one task adds to Omega, float32 [D], of omega and the way between its ends, [D]."""
    return path.clamp_min(0) / (distance.square() + xi)
