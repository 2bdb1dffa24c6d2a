"""A row of the table of fairness rules: how much more a client counts whose loss is higher. N clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]
Tilt = Callable[[Losses, float, float], Losses]
"""(losses [N], the typical loss, the rule's strength) -> weights [N], relative to those of a client at the typical
loss; not negative, and never lower for a higher loss. What is too large to be a number is infinite."""


@dataclass(frozen=True, slots=True)
class FairnessRule:
    """One rule.

    Attributes:
        about: in one line, with the paper.
        tilt: the weights, before the cap.
        strength: the key of [fairness] that says how strong it is, 0 being FedAvg; "" for a rule that has none.
        curbs: whether the paper shortens the step as well (`server/fairness/step.py`).
    """

    about: str
    tilt: Tilt
    strength: str = ""
    curbs: bool = False
