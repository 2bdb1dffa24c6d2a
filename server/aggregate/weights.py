"""Weights of FedAvg (McMahan et al., AISTATS 2017, https://arxiv.org/abs/1602.05629, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from roughfed.types import UpdateStatement

COUNT_CAP = 3
"""num_examples is a client's own claim: none counts for more than this many times the median."""


def examples(statements: Sequence[UpdateStatement]) -> list[float]:
    """In proportion to num_examples, capped at 3 x median (DESIGN section 7, admission)."""
    counts = [s.num_examples for s in statements]
    cap = COUNT_CAP * median(counts) if counts else 0
    return [float(min(n, cap)) for n in counts]


def uniform(statements: Sequence[UpdateStatement]) -> list[float]:
    """Every client the same."""
    return [1.0 for _ in statements]
