"""Sums of features under the global model, from which the server can make a Gaussian of each class.

CCVR (Luo et al., NeurIPS 2021, section 4.2) has each client send the mean and the covariance of each of its classes.

Differs: counts, sums and one sum of outer products for all classes together: they add up over clients, so nobody sees
those of a single one; the covariance is then one for all classes.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from roughfed.client.trainer.examples.statistic_extractor import Observed
from roughfed.client.trainer.parts import Context
from roughfed.client.trainer.torch_types import floats
from roughfed.secagg.fixed_point import fit_features, upper_triangle


class FeatureSums:
    """Examples of each class [C], sums of their features [C x d], and the sum of outer products [d (d + 1) / 2]."""

    def __init__(self, context: Context) -> None:
        """All zero; float64, since outer products of many examples are added."""
        classes, width = context.num_classes, context.head().linear.in_features
        zeros = partial(torch.zeros, dtype=torch.float64, device=context.device)
        self._count, self._sum, self._outer = zeros(classes), zeros(classes, width), zeros(width, width)

    def add(self, seen: Observed) -> None:
        """See `StatisticExtractor`."""
        features = seen.features.double()
        self._count += torch.bincount(seen.y, minlength=len(self._count))
        self._sum.index_add_(0, seen.y, features)
        self._outer += features.T @ features

    def values(self) -> dict[str, tuple[int, ...]]:
        """See `StatisticExtractor`; scaled together where a sum is beyond its bound: means and covariance stay."""
        count, total, outer = (np.array(floats(part)) for part in (self._count, self._sum, self._outer))
        return fit_features(count, total, upper_triangle(outer))
