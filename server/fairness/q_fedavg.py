"""q-FedAvg (Li, Sanjabi, Beirami, Smith, "Fair Resource Allocation in Federated Learning", ICLR 2020, 1905.10497).

The objective is sum_i p_i F_i^(q+1) / (q+1) (equation 2), whose gradient weighs that of client i by F_i^q: q = 0 is
FedAvg, a large q comes close to the worst client's loss alone. Algorithm 2 takes the step

    w += sum_i F_i^q L d_i / sum_i h_i,    h_i = q F_i^(q-1) |L d_i|^2 + L F_i^q,

with d_i the update and L = 1 / lr. It is the mean of the updates with weights F_i^q, times one number that is at most 1
(`server/fairness/step.py`).
"""

from __future__ import annotations

import numpy as np

from roughfed.server.fairness.rule import Losses

LOWEST = 2.0**-16
"""Losses below this count as this: a power of a loss that is zero, or below, says nothing."""


def tilt(losses: Losses, typical: float, q: float) -> Losses:
    """(F_i / F)^q, with F the typical loss: a common factor of all weights changes no mean."""
    with np.errstate(over="ignore"):
        return (np.maximum(losses, LOWEST) / max(typical, LOWEST)) ** q
