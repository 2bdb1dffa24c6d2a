"""What a training tells of its examples, to be added up over all clients. One file each, one row for each statistic."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.examples.statistic_extractor import Maker
from roughfed.client.trainer.extractors.features import FeatureSums
from roughfed.client.trainer.extractors.head_gradient import HeadGradient
from roughfed.client.trainer.extractors.losses import ClassLossHistogram, LossHistogram
from roughfed.client.trainer.extractors.transition import TransitionExtractor

TELLERS: Mapping[str, Maker] = {
    "transition": TransitionExtractor,
    "loss-histogram": LossHistogram,
    "class-loss-histogram": ClassLossHistogram,
    "feature-count": FeatureSums,
    "feature-sum": FeatureSums,
    "feature-outer": FeatureSums,
    "head-gradient": HeadGradient,
}

OF_THE_HEAD = frozenset({"feature-count", "feature-sum", "feature-outer", "head-gradient"})
"""Those that need a model that ends in one linear layer."""
