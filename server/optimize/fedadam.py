"""FedAdam (Reddi et al., ICLR 2021, https://arxiv.org/abs/2003.00295, algorithm 2)."""

from __future__ import annotations

import numpy as np

from roughfed.params import Flat
from roughfed.server.optimize.adaptive import (
    OptimizerOptions,
    OptimizerRule,
    State,
    adaptive_start,
    adaptive_step,
    mean_of_updates,
    scaled,
)


def apply(params: Flat, delta: Flat, state: State, options: OptimizerOptions) -> tuple[Flat, State]:
    """One step; v' = beta2 v + (1 - beta2) delta^2."""
    m, v = state
    m = mean_of_updates(m, delta, options.beta1)
    v = scaled(v, options.beta2) + scaled(np.square(delta), 1 - options.beta2)
    return adaptive_step(params, m, v, options), (m, v)


FEDADAM = OptimizerRule(adaptive_start, apply, keeps=("m", "v"))
