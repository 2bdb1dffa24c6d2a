"""Adaptive local aggregation (FedALA, Zhang et al., AAAI 2023, https://arxiv.org/abs/2212.01197, section 3.3).

A training begins with the global model, but for its last p layers: there every parameter is local + (global - local) W,
W in [0, 1] element by element. W is learnt on a share of the local data with all else frozen, until its loss has
settled when it is learnt for the first time, for one pass in each later round; it and the last local values of those
layers lie in the state. In a client's first training there is nothing to mix.

What is sent is the trained model minus the *global* one, so the server's mean is the mean of the local models, as in
the paper: the update holds what the mixing moved, too, and does not become small when the training converges. The model
that the client uses is the mixed one, with the newest global model.

Differs from the authors' code (TsingZ0/FedALA): layers are counted, not tensors; the share of the data is the beginning
of a shuffled epoch; whether the loss has settled is judged by its mean over a pass, not by its last batch; and after
`PASSES` passes it is taken as settled.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from roughfed.client.trainer.examples.batches import TrainLoader
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan, Tensors
from roughfed.client.trainer.torch_types import gradients_of

PART = "adaptive-mixing"
LOCAL, WEIGHT = "local.", "weight."
LOOKED_BACK, PASSES = 10, 50


def adaptive_mixing(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; options layers, share, rate, settled."""
    mixing = Mixing(options, context, plan)

    def use() -> int:
        mixing.begin()
        return 0

    return Hooks(begin=mixing.begin, end=mixing.end, use=use)


class Mixing:
    """The last layers of one training."""

    def __init__(self, options: Options, context: Context, plan: Plan) -> None:
        """Take up the state; nothing is changed before `begin`."""
        self._context, self._plan = context, plan
        self._share, self._rate = float(options["share"]), float(options["rate"])
        self._settled = float(options["settled"])
        self._state = context.state(PART)
        self._upper = last_layers(context.model, int(options["layers"]))
        self._seed = int(torch.randint(1 << 62, (), generator=context.generator))

    def begin(self) -> None:
        """Learn the weights and put the mixed values into the model."""
        self._context.global_parameters()  # before they are changed: what others hold parameters near
        local = self._kept(LOCAL)
        if not local:
            return
        weights = self._kept(WEIGHT)
        found = self._learn(
            local, weights or {name: torch.ones_like(p) for name, p in local.items()}, first=not weights
        )
        self._state.update({WEIGHT + name: weight for name, weight in found.items()})
        mixed = mix(self._upper, local, found)
        with torch.no_grad():
            for name, p in self._upper.items():
                p.copy_(mixed[name])

    def end(self) -> dict[str, float]:
        """Keep what the training made of these layers."""
        self._state.update({LOCAL + name: p.detach().clone() for name, p in self._upper.items()})
        return {}

    def _kept(self, kind: str) -> Tensors:
        device = self._context.device
        found = {name: self._state[kind + name].to(device) for name in self._upper if kind + name in self._state}
        return found if len(found) == len(self._upper) else {}

    def _learn(self, local: Tensors, weights: Tensors, *, first: bool) -> Tensors:
        """The weights that lower the loss of the mixed model on a share of the data."""
        net = copy.deepcopy(self._context.model)
        net.train()
        named = dict(net.named_parameters())
        learning = {name: named[name] for name in self._upper}
        for name, p in named.items():
            p.requires_grad_(name in learning)
        losses: list[float] = []
        while not losses or (first and not self._has_settled(losses)):
            losses.append(self._pass(net, learning, local, weights))
        return weights

    def _pass(self, net: nn.Module, learning: Mapping[str, Tensor], local: Tensors, weights: Tensors) -> float:
        """One pass over the same examples in the same order; changes `weights`, gives the mean loss."""
        context, losses = self._context, list[Tensor]()
        size, epochs = context.settings.batch_size, 1
        steps = max(1, round(self._share * context.source.num_batches(size)))
        loader = TrainLoader(
            context.source, batch_size=size, seed=self._seed, epochs=epochs, max_steps=steps, report=context.alive
        )
        for batch in loader.epoch(self._plan.order):
            with torch.no_grad():
                for name, value in mix(self._upper, local, weights).items():
                    learning[name].copy_(value)
            loss = self._plan.losses(self._plan.run(net, batch.x), batch).mean()
            gradients = gradients_of(loss, list(learning.values()))
            for name, gradient in zip(learning, gradients, strict=True):
                if gradient is not None:
                    step = self._rate * gradient * (self._upper[name].detach() - local[name])
                    weights[name] = (weights[name] - step).clamp_(0, 1)
            losses.append(loss.detach())
        return float(torch.stack(losses).mean()) if losses else 0.0

    def _has_settled(self, losses: list[float]) -> bool:
        steady = len(losses) > LOOKED_BACK and statistics.pstdev(losses[-LOOKED_BACK:]) < self._settled
        return steady or len(losses) >= PASSES


def mix(upper: Mapping[str, Tensor], local: Tensors, weights: Tensors) -> Tensors:
    """Local + (global - local) W by name; the global value itself where W is 1."""
    rows = ((name, p.detach(), local[name], weights[name]) for name, p in upper.items())
    return {name: torch.where(w == 1, p, own + (p - own) * w).to(p.dtype) for name, p, own, w in rows}


def last_layers(model: nn.Module, count: int) -> dict[str, nn.Parameter]:
    """The learning parameters of the last `count` modules that have some, by name."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in named))[-count:]
    return {name: p for name, p in named.items() if name.rpartition(".")[0] in layers}
