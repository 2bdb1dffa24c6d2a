"""The length of q-FedAvg's step, as its paper has it: the weighted mean of the updates, times one number."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from roughfed.server.fairness.q_fedavg import LOWEST

LOW = 3.0
"""A claim to have hardly any loss would bring the step to a stand, as 1 / F_i is in it: none counts as lower than the
median by more than this factor."""


def curb(
    weights: Sequence[float], losses: Sequence[float | None], norms: Sequence[float], *, q: float, lr: float
) -> float:
    """What the mean is multiplied by, so that it is algorithm 2 of Li et al. (ICLR 2020).

    With weights a_i = p_i F_i^q their step sum_i a_i L d_i / sum_i (q a_i / F_i |L d_i|^2 + L a_i) is the mean of the
    d_i times 1 / (1 + q L v), v the mean of |d_i|^2 / F_i, both with the weights a_i. The longer the updates, the more
    this is below 1; at q = 0 it is 1.

    Differs: a_i is cut to the cap before, and F_i here to a third of the median at least. A client without a known loss
    is in the mean of the d_i, and not in v.

    Args:
        weights: N of them, the fairness factor in them.
        losses: mean loss of each client; None where it told none.
        norms: L2 norm of each update, |d_i|.
        q: of the rule.
        lr: of the local steps, 1 / L.

    Returns:
        above 0, at most 1.
    """
    known = [
        (weight, loss, norm)
        for weight, loss, norm in zip(weights, losses, norms, strict=True)
        if loss is not None and weight > 0
    ]
    if not known:
        return 1.0
    lowest = max(LOWEST, median(loss for _, loss, _ in known) / LOW)
    mean = sum(weight * norm * norm / max(loss, lowest) for weight, loss, norm in known)
    mean /= sum(weight for weight, _, _ in known)
    return 1.0 / (1.0 + q * mean / lr)
