"""TERM (Li, Beirami, Sanjabi, Smith, "Tilted Empirical Risk Minimization", ICLR 2021, 2007.01162).

The objective is log(mean_i exp(t F_i)) / t over the clients (equation 1, section 3.3 for groups), whose gradient weighs
that of client i by exp(t F_i), divided by their sum (lemma 1): t = 0 is FedAvg, a large t comes close to the worst
client's loss alone. A negative t, which leaves outliers out, is what the defences are for, and is not offered.
"""

from __future__ import annotations

import numpy as np

from roughfed.server.fairness.rule import Losses


def tilt(losses: Losses, typical: float, t: float) -> Losses:
    """exp(t (F_i - F)), with F the typical loss: a common factor of all weights changes no mean."""
    with np.errstate(over="ignore"):
        return np.exp(t * (losses - typical))
