"""How labels seem to turn into others: counts of (given label, class that the example seems to be of).

The counting part of Dual-T (Yao et al., NeurIPS 2020, section 3.2: the matrix from the intermediate class to the given
label), with the global model's prediction as the intermediate class. Only confident predictions count, by the threshold
of confident learning (Northcutt et al., JAIR 2021, equation 2, there over given labels): the mean confidence of those
predicted alike. What is below says more of the model than of the labels.

Differs: the paper multiplies by a second matrix, from the true to the intermediate class, estimated at anchor points;
of a model that all clients train together it is near to the identity, and estimating it would need single examples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.examples.statistic_extractor import Observed
from roughfed.client.trainer.parts import Context
from roughfed.client.trainer.torch_types import integers


class TransitionExtractor:
    """Confident examples by given label (row) and predicted class, [C x C]."""

    def __init__(self, context: Context) -> None:
        """Nothing seen."""
        self._classes = context.num_classes
        self._given: list[Tensor] = []
        self._predicted: list[Tensor] = []
        self._confidence: list[Tensor] = []

    def add(self, seen: Observed) -> None:
        """See `StatisticExtractor`."""
        confidence, predicted = seen.output.softmax(dim=1).max(dim=1)
        self._given.append(seen.y)
        self._predicted.append(predicted)
        self._confidence.append(confidence)

    def values(self) -> dict[str, tuple[int, ...]]:
        """See `StatisticExtractor`."""
        given, predicted = torch.cat(self._given), torch.cat(self._predicted)
        confidence = torch.cat(self._confidence).double()
        number = torch.bincount(predicted, minlength=self._classes).clamp_min(1)
        mean = torch.bincount(predicted, weights=confidence, minlength=self._classes) / number  # [C]
        sure = confidence >= mean[predicted] - 1e-9  # where all are equally sure, all count
        cells = (given * self._classes + predicted)[sure]
        return {"transition": tuple(integers(torch.bincount(cells, minlength=self._classes**2)))}
