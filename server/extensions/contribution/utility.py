"""What a model is worth, in one number out of an evaluation: several, side by side.

C classes, U utilities. Accuracy goes by how often a class comes: who alone has a rare one hardly moves it. Balanced
accuracy counts every class the same. The loss (its negative, so that more is better) moves before any answer changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roughfed.server.extensions.contribution.method import Values
from roughfed.server.model.trainer_interface import Sums

BALANCED, ACCURACY, LOSS = "balanced-accuracy", "accuracy", "loss"
CLASSIFICATION = (BALANCED, ACCURACY, LOSS)
REGRESSION = (LOSS,)


def in_order(first: str, num_classes: int) -> tuple[str, ...]:
    """The utilities of a task, the one that scores go by first; `first` must be one of them."""
    known = CLASSIFICATION if num_classes else REGRESSION
    return (first, *(name for name in known if name != first))


def utilities_of(sums: Sums, names: Sequence[str]) -> Values:
    """The utilities of one evaluation, float64 [U], in the order of `names`."""
    number, loss_sum, count, correct = sums
    found = {LOSS: -loss_sum / max(1, number)}
    if any(count):
        shares = [k / n for k, n in zip(correct, count, strict=True) if n]
        found |= {ACCURACY: sum(correct) / sum(count), BALANCED: sum(shares) / len(shares)}
    return np.array([found[name] for name in names])
