"""CReFF, classifier re-training with federated features (Shang et al., IJCAI 2022, section 3.2).

Features of each class that no client has are moved until the classifier's gradients at them point where the clients'
summed gradients point (equation 6, a distance by the angle of each row), and a classifier is trained on them (equation
7). The features are kept from round to round. Constants of the reference: 100 features a class, 100 steps of 0.1,
normal at first.

Differs: the classifier is trained in larger batches, with momentum; a class without a gradient keeps its row of it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.training.classifier_sums import Classifier, CohortSums, retrain

EACH = 100
STEPS, STEP = 100, 0.1
EPOCHS, LR = 100, 0.05
KEPT = "features"


def creff(given: CohortSums) -> Classifier:
    """The re-trained classifier; the one it began with where no class has a gradient."""
    classes, width = given.at.weight.shape
    flat = given.sum_of("head-gradient", classes, classes * width + classes).float()
    weights, biases = flat[:, : classes * width].reshape(classes, classes, width), flat[:, classes * width :]
    there = flat.abs().sum(dim=1) > 0
    if not bool(there.any()):
        return given.classifier
    features = given.kept.get(KEPT)
    if features is None or features.shape != (classes, EACH, width):
        features = torch.randn(classes, EACH, width, generator=given.generator)
    features = given.kept[KEPT] = matched(features, given.at, weights, biases, there)
    places = torch.nonzero(there).flatten()
    labels = places.repeat_interleave(EACH)
    told = there.float()  # these begin at zero, the others stay what they are
    start = Classifier(given.classifier.weight * (1 - told)[:, None], given.classifier.bias * (1 - told))
    return retrain(start, features[places].reshape(-1, width), labels, given, epochs=EPOCHS, lr=LR)


def matched(features: Tensor, at: Classifier, weights: Tensor, biases: Tensor, there: Tensor) -> Tensor:
    """Features after their steps, float32 [C, EACH, d].

    Args:
        features: before.
        at: the classifier of the gradients.
        weights: summed gradients of its weights by class, [C, C, d].
        biases: of its biases, [C, C].
        there: classes that have a gradient, bool [C].
    """
    moved = features.clone().requires_grad_(True)
    target = torch.eye(len(there))[:, None, :]  # [C, 1, C]
    for _ in range(STEPS):
        error = at(moved).softmax(dim=2) - target  # [C, n, C]
        own = error.transpose(1, 2) @ moved / EACH  # [C, C, d]
        apart = (1 - functional.cosine_similarity(own, weights, dim=2, eps=1e-6)).sum(dim=1)
        apart = apart + 1 - functional.cosine_similarity(error.mean(dim=1), biases, dim=1, eps=1e-6)
        (slope,) = torch.autograd.grad(apart[there].sum(), moved)
        with torch.no_grad():
            moved -= STEP * slope
    return moved.detach()
