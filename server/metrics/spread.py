"""How evenly a model serves the clients: out of each one's accuracy, or of how many lie in which bucket. N clients.

The worst tenth is the figure of q-FFL (Li et al., ICLR 2020, table 1), the standard deviation that of the same paper's
definition 1: of two models, the one with the smaller spread is fairer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roughfed.secagg.statistics import ACCURACY_BUCKETS, accuracy_bucket

TAIL = 0.1
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)

Figures = dict[str, Any]
"""clients; mean, std, worst10, best10, and quantiles (of QUANTILES, in order), all from 0 to 1; bins: clients by
accuracy, in 20 equally wide ones; "within", where the figures come from such bins: none of them is farther from what
the clients' own numbers give."""


def of_values(accuracies: Sequence[float]) -> Figures:
    """The figures of N accuracies, 0 to 1; those that are no numbers do not count, without any there are none.

    The worst tenth is the mean of the N / 10 lowest, at least one; where N / 10 is no whole number, the next one counts
    in part, so that one client more or less moves no figure by a jump.
    """
    known = np.sort([value for value in accuracies if math.isfinite(value)])  # [N]
    if not len(known):
        return {}
    return {
        "clients": len(known),
        "mean": float(known.mean()),
        "std": float(known.std()),
        "worst10": _tail(known),
        "best10": _tail(known[::-1]),
        "quantiles": [float(np.quantile(known, share, method="inverted_cdf")) for share in QUANTILES],
        "bins": np.bincount([accuracy_bucket(value) for value in known], minlength=ACCURACY_BUCKETS).tolist(),
    }


def of_histogram(counts: Sequence[int]) -> Figures:
    """The same of clients in equally wide buckets of accuracy: each counts as in the middle of its own.

    No figure is off by more than half a bucket: each is an order statistic, or a mean of some, or (the standard
    deviation) at most as far off as all clients are.
    """
    width = 1 / max(len(counts), 1)
    middles = (np.arange(len(counts)) + 0.5) * width
    found = of_values(np.repeat(middles, np.maximum(counts, 0)).tolist()) if len(counts) else {}
    return found | {"bins": list(counts), "within": width / 2} if found else {}


def gap(figures: Figures) -> float | None:
    """How much better the model serves the best tenth of the clients than the worst tenth, 0 to 1; None: not known.

    The figures that q-FFL compares (Li et al., ICLR 2020, table 1), one minus the other. Behind masks each of the two
    is known to half a bucket, so the gap to 0.05.
    """
    if "best10" not in figures or "worst10" not in figures:
        return None
    return float(figures["best10"]) - float(figures["worst10"])


def jain(figures: Figures) -> float | None:
    """Jain's index of n accuracies, (sum x)^2 / (n sum x^2), from 1/n to 1; None: not known, or all are 0.

    Jain, Chiu and Hawe, "A Quantitative Measure of Fairness and Discrimination for Resource Allocation in Shared
    Computer Systems", DEC-TR-301, 1984, section 3. With mean m and standard deviation s it is m^2 / (m^2 + s^2), which
    is how it follows from buckets, too.
    """
    mean, std = figures.get("mean"), figures.get("std")
    if mean is None or std is None or not (whole := mean**2 + std**2):
        return None
    return float(mean**2 / whole)


def _tail(ordered: NDArray[np.float64]) -> float:
    """The mean of the first tenth, the client at its end counting for the part that is in it."""
    share = max(1.0, TAIL * len(ordered))
    weights = np.clip(share - np.arange(len(ordered)), 0.0, 1.0)
    return float(ordered @ weights / share)
