"""FedAvgM: momentum at the server (Hsu et al., 2019, https://arxiv.org/abs/1909.06335, section 4.3)."""

from __future__ import annotations

import numpy as np

from roughfed.params import Flat
from roughfed.server.optimize.adaptive import OptimizerOptions, OptimizerRule, State, scaled


def init(size: int, _options: OptimizerOptions) -> State:
    """No velocity."""
    return (np.zeros(size, dtype=np.float32),)


def apply(params: Flat, delta: Flat, state: State, options: OptimizerOptions) -> tuple[Flat, State]:
    """One step; v' = momentum v + delta, params' = params + lr v': in the long run, lr / (1 - momentum) deltas long."""
    velocity = scaled(state[0], options.momentum) + delta
    return params + scaled(velocity, options.lr), (velocity,)


FEDAVGM = OptimizerRule(init, apply, keeps=("m",))
