"""What is seen of a client's examples in one pass over them with the round's global model, before the training starts.

B batch, C classes, d features before the last layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from roughfed.client.trainer.parts import Context


@dataclass(frozen=True, slots=True)
class Observed:
    """One batch as the global model sees it, without gradients.

    Attributes:
        y: given labels, int64 [B].
        output: logits, float32 [B, C].
        losses: cross-entropy, float32 [B].
        features: float32 [B, d]; empty [B, 0] where the model ends in no linear layer.
    """

    y: Tensor
    output: Tensor
    losses: Tensor
    features: Tensor


class StatisticExtractor(Protocol):
    """Adds up what a statistic says (`roughfed.secagg.statistics.KINDS`)."""

    def add(self, seen: Observed) -> None:
        """Count a batch."""
        ...

    def values(self) -> Mapping[str, Sequence[int]]:
        """Whole numbers within the bounds of their kinds, by the name of the statistic."""
        ...


Maker = Callable[[Context], StatisticExtractor]
"""A row of the room `tell/`."""
