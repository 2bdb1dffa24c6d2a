"""CCVR, classifier calibration with virtual representations (Luo et al., NeurIPS 2021, section 4.2).

A Gaussian of each class's features from sums over the clients; as many features of each class are drawn from them, and
the classifier is trained on these. The paper: 2,000 or fewer a class, 10 epochs.

Differs: one covariance for all classes, pooled within them and shrunk towards the same variance everywhere, since that
is what follows from a sum of d x d values; the paper's C matrices would be C times as many and say more of single
classes. One covariance misses how classes differ in shape, so the training is short, and the result lies half-way
between the old classifier and the new one (as Wortsman et al., CVPR 2022, do after fine-tuning): measured better than
either.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from roughfed.client.trainer.torch_types import norm
from roughfed.client.trainer.training.classifier_sums import Classifier, CohortSums, retrain

DRAWN = 1000
SHRINK = 0.1
EPOCHS, LR = 10, 0.02


def ccvr(given: CohortSums) -> Classifier:
    """The re-trained classifier; the one it began with where the sums hold no example."""
    classes, width = given.classifier.weight.shape
    count = given.sum_of("feature-count", classes)
    mean = given.sum_of("feature-sum", classes, width) / count.clamp_min(1.0)[:, None]  # [C, d]
    there = torch.nonzero(count > 0).flatten()
    if not len(there):
        return given.classifier
    root = root_of(covariance(given, count, mean))
    noise = torch.randn(len(there), DRAWN, width, generator=given.generator, dtype=torch.float64)
    features = (mean[there, None, :] + noise @ root.T).float().reshape(-1, width)
    labels = there.repeat_interleave(DRAWN)
    return between(given.classifier, retrain(given.classifier, features, labels, given, epochs=EPOCHS, lr=LR))


def between(old: Classifier, new: Classifier) -> Classifier:
    """Half-way from one classifier to another, both as long as the old one: only directions decide the class."""
    scale = 0.5 * norm(old.weight) / norm(new.weight).clamp_min(1e-12)
    return Classifier(0.5 * old.weight + scale * new.weight, 0.5 * old.bias + scale * new.bias)


def covariance(given: CohortSums, count: Tensor, mean: Tensor) -> Tensor:
    """Within the classes, float64 [d, d]: (sum z z^T - sum n_c m_c m_c^T) / (N - C), shrunk.

    Of classes that are not told the outer products are in the sum and the means are not: it is then a little wider.
    """
    width = mean.shape[1]
    outer = torch.zeros(width, width, dtype=torch.float64)
    upper = torch.triu_indices(width, width)
    outer[upper[0], upper[1]] = given.sum_of("feature-outer", width * (width + 1) // 2)
    outer = outer + outer.triu(1).T
    within = (outer - (mean * count[:, None]).T @ mean) / (count.sum() - (count > 0).sum()).clamp_min(1.0)
    even = within.diagonal().mean().clamp_min(1e-9) * torch.eye(width, dtype=torch.float64)
    return (1 - SHRINK) * within + SHRINK * even


def root_of(matrix: Tensor) -> Tensor:
    """A with A A^T = matrix, [d, d]; what rounding made negative is taken for 0."""
    values, vectors = cast("tuple[Tensor, Tensor]", torch.linalg.eigh(matrix))
    return vectors * values.clamp_min(0.0).sqrt()
