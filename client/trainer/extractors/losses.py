"""Histograms of the losses under the global model: in place of one mean for each client, or for each of its classes.

FedCorr (Xu et al., CVPR 2022) and FedNoRo (Wu et al., IJCAI 2023) tell noisy clients from clean ones at the server, by
numbers of single clients. A sum of histograms says how losses lie in the whole cohort, and of nobody in particular.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.examples.statistic_extractor import Observed
from roughfed.client.trainer.parts import Context
from roughfed.client.trainer.torch_types import integers
from roughfed.secagg.statistics import CLASS_LOSS_BUCKETS, LOSS_BUCKETS, loss_edge


class LossHistogram:
    """Examples in each bucket of their loss, [LOSS_BUCKETS]."""

    def __init__(self, context: Context) -> None:
        """All zero."""
        self._table = torch.zeros(LOSS_BUCKETS, dtype=torch.int64, device=context.device)

    def add(self, seen: Observed) -> None:
        """See `StatisticExtractor`."""
        place = buckets_of(seen.losses, LOSS_BUCKETS)
        self._table.index_add_(0, place, torch.ones_like(place))

    def values(self) -> dict[str, tuple[int, ...]]:
        """See `StatisticExtractor`."""
        return {"loss-histogram": tuple(integers(self._table))}


class ClassLossHistogram:
    """Examples of each given label in each bucket of their loss, [C x CLASS_LOSS_BUCKETS]."""

    def __init__(self, context: Context) -> None:
        """All zero."""
        cells = context.num_classes * CLASS_LOSS_BUCKETS
        self._table = torch.zeros(cells, dtype=torch.int64, device=context.device)

    def add(self, seen: Observed) -> None:
        """See `StatisticExtractor`."""
        place = seen.y * CLASS_LOSS_BUCKETS + buckets_of(seen.losses, CLASS_LOSS_BUCKETS)
        self._table.index_add_(0, place, torch.ones_like(place))

    def values(self) -> dict[str, tuple[int, ...]]:
        """See `StatisticExtractor`."""
        return {"class-loss-histogram": tuple(integers(self._table))}


def buckets_of(losses: Tensor, buckets: int) -> Tensor:
    """`roughfed.secagg.statistics.loss_bucket` of many losses, float32 [B] to int64 [B]."""
    edges = torch.tensor([loss_edge(at, buckets) for at in range(buckets - 1)], device=losses.device)
    first = losses.nan_to_num(0.0, posinf=1e6) > edges[0]  # the lowest edge belongs to the bucket below it
    return torch.bucketize(losses.nan_to_num(0.0, posinf=1e6), edges, right=True) * first
