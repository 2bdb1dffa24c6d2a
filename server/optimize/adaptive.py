"""What the server optimizers stand on: their options and state, and the step of the adaptive ones.

A rule is a pair (init, apply) of pure functions on slices. Its state is as many float32 vectors as it keeps, each as
long as the slice: D coordinates in all, one file a vector (`roughfed.server.optimize.state`).

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from roughfed.params import Flat

State = tuple[Flat, ...]
"""What a rule remembers from one version to the next, in the order of `OptimizerRule.keeps`; float32 [n] each."""


@dataclass(frozen=True, slots=True)
class OptimizerOptions:
    """[optimize] of fed.toml; a rule reads those that it has.

    Attributes:
        lr: server learning rate.
        momentum: part of the last step that is made again.
        beta1: decay of the mean of the updates.
        beta2: decay of the mean of their squares.
        tau: what the root of that mean is raised by; how far a rule adapts.
    """

    lr: float = 1.0
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3


@dataclass(frozen=True, slots=True)
class OptimizerRule:
    """A row.

    Attributes:
        init: (n, options) -> the state before the first step of n coordinates.
        apply: (params, delta, state, options) -> (params', state'); float32 [n] each, no argument is changed.
        keeps: names of the vectors of the state, for their files.
    """

    init: Callable[[int, OptimizerOptions], State]
    apply: Callable[[Flat, Flat, State, OptimizerOptions], tuple[Flat, State]]
    keeps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stepper:
    """A rule of `roughfed.server.optimize` with its options, as `combine` uses it."""

    name: str
    rule: OptimizerRule
    options: OptimizerOptions

    def begin(self, size: int) -> State:
        """The state of `size` coordinates that no step was made along."""
        return self.rule.init(size, self.options)

    def step(self, params: Flat, delta: Flat, state: State) -> tuple[Flat, State]:
        """One step of a slice."""
        return self.rule.apply(params, delta, state, self.options)


def scaled(vector: Flat, by: float) -> Flat:
    """By * vector, float32 whatever numpy would make of it."""
    return np.multiply(vector, np.float32(by), dtype=np.float32)


def adaptive_start(size: int, options: OptimizerOptions) -> State:
    """M = 0 and v = tau^2, as the paper asks of v_-1 (algorithm 2, input: v_-1 >= tau^2), float32 [size] each."""
    return np.zeros(size, dtype=np.float32), np.full(size, options.tau**2, dtype=np.float32)


def mean_of_updates(m: Flat, delta: Flat, beta1: float) -> Flat:
    """M' = beta1 m + (1 - beta1) delta (line 9)."""
    return scaled(m, beta1) + scaled(delta, 1 - beta1)


def adaptive_step(params: Flat, m: Flat, v: Flat, options: OptimizerOptions) -> Flat:
    """Params + lr m / (sqrt(v) + tau) (line 13); no bias correction, as in the paper: early steps are the smaller."""
    pace = np.add(np.sqrt(v), np.float32(options.tau), dtype=np.float32)
    return params + np.divide(scaled(m, options.lr), pace, dtype=np.float32)
