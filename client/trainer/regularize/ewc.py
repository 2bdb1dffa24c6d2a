"""Elastic weight consolidation (Kirkpatrick et al., PNAS 2017, equation 3) in its online form.

The online form (Schwarz et al., "Progress & compress", ICML 2018, section 3.2) has one F for all earlier tasks, with
F <- gamma F + F_new. The penalty is lambda / 2 sum F (w - w*)^2. F is the Fisher information proper: gradients of
single examples, with labels drawn from the model's predictions. A model that is quite sure of a task has hardly any, so
lambda is large. It is estimated at the end of each training, and counts from
the round on in which the next task begins; w* is then the model that this round begins with, in a federation the one
that all made together.

Differs: the penalty's step is taken implicitly after the step of the loss (`pull`), since a large
lambda makes the explicit one diverge.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.examples.replay_buffer import logits_of
from roughfed.client.trainer.model.fisher import fisher
from roughfed.client.trainer.model.importance_penalty import learning_rate, parameters, pull, task_ended, vector
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan


def ewc(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; options lambda, gamma and samples."""
    strength, gamma, samples = float(options["lambda"]), float(options["gamma"]), int(options["samples"])
    state = context.state("ewc")
    params = parameters(context)

    def begin() -> None:
        ended = task_ended(context, state)
        for name in ("importance", "anchor", "newest"):
            if name in state:
                state[name] = state[name].to(context.device)
        if ended and "newest" in state:
            newest = state.pop("newest")
            state["importance"] = gamma * state.get("importance", torch.zeros_like(newest)) + newest
            state["anchor"] = vector(params)

    def after(_outputs: Outputs, _given: Batch) -> None:
        if "importance" in state:
            pull(params, state["anchor"], learning_rate(context) * strength * state["importance"])

    def end() -> dict[str, float]:
        x = _some(context, samples)
        context.model.eval()
        with torch.no_grad():
            logits = [logits_of(plan.run(context.model, part)).float() for part in torch.split(x, 256)]
        chances = torch.cat(logits).softmax(dim=1).cpu()
        drawn = torch.multinomial(chances, 1, generator=context.generator)[:, 0].to(x.device)
        state["newest"] = fisher(context.model, x, drawn)
        return {}

    return Hooks(begin=begin, after=after, end=end)


def _some(context: Context, samples: int) -> Tensor:
    """Inputs of the training's data, at most so many, in an order drawn for this round."""
    seed = int(torch.randint(1 << 31, (), generator=context.generator))
    parts: list[Tensor] = []
    for x, _ in context.source.epoch(256, seed):
        parts.append(x)
        if sum(map(len, parts)) >= samples:
            break
    return torch.cat(parts)[:samples]
