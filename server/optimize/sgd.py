"""FedAvg's step, params + lr * delta (McMahan et al., AISTATS 2017, https://arxiv.org/abs/1602.05629; lr = 1)."""

from __future__ import annotations

from roughfed.params import Flat
from roughfed.server.optimize.adaptive import OptimizerOptions, OptimizerRule, State, scaled


def init(_size: int, _options: OptimizerOptions) -> State:
    """Nothing is remembered."""
    return ()


def apply(params: Flat, delta: Flat, state: State, options: OptimizerOptions) -> tuple[Flat, State]:
    """One step along the mean of local minus global parameters; lr = 1 is their mean itself."""
    return params + (delta if options.lr == 1.0 else scaled(delta, options.lr)), state


SGD = OptimizerRule(init, apply)
