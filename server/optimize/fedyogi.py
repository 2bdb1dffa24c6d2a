"""FedYogi (Reddi et al., ICLR 2021, https://arxiv.org/abs/2003.00295, algorithm 2)."""

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
    """One step; v' = v - (1 - beta2) delta^2 sign(v - delta^2): it falls more slowly than Adam's."""
    m, v = state
    m = mean_of_updates(m, delta, options.beta1)
    squared = np.square(delta)
    v = v - scaled(squared, 1 - options.beta2) * np.sign(v - squared)
    return adaptive_step(params, m, v, options), (m, v)


FEDYOGI = OptimizerRule(adaptive_start, apply, keeps=("m", "v"))
