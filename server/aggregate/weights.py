"""Weights of FedAvg (McMahan et al., AISTATS 2017, https://arxiv.org/abs/1602.05629, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from roughfed.secagg.adverts import FULL
from roughfed.types import UpdateStatement

Weighting = Callable[[Sequence[UpdateStatement]], list[float]]

COUNT_CAP = 3
"""num_examples is a client's own claim: none counts for more than this many times the median."""


def examples(statements: Sequence[UpdateStatement]) -> list[float]:
    """In proportion to num_examples, capped at 3 x median."""
    counts = [s.num_examples for s in statements]
    cap = COUNT_CAP * median(counts) if counts else 0
    return [float(min(n, cap)) for n in counts]


def weighed(statements: Sequence[UpdateStatement], rule: Weighting) -> list[float]:
    """The weights of a rule, each times the class that the client named for itself: 1/4, 1/2, 3/4 or 1."""
    return [weight * s.quarters / FULL for weight, s in zip(rule(statements), statements, strict=True)]


def uniform(statements: Sequence[UpdateStatement]) -> list[float]:
    """Every client the same."""
    return [1.0 for _ in statements]
