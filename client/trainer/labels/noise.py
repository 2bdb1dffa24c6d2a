"""How many labels are wrong, and what is taken for what: estimates from the predictions of an early model.

N examples, C classes. T[i, j] is the chance that the label j is given to an example whose true class is i: rows add up
to 1, and the given label's posterior is p @ T. An *early* model is one that has not learnt wrong labels by heart yet;
later its posteriors are those of the given labels, and every T comes out as the identity.

* `confident_joint`: Northcutt, Jiang & Chuang, "Confident Learning", JAIR 2021, equations 1-3.
* `anchor_transition`: Patrini et al., CVPR 2017, equations 12-13.
* `dual_transition`: Yao et al., "Dual T", NeurIPS 2020, equation 3.

Differs: an anchor is the mean of some examples around the paper's quantile, not one example; a class that is rarer than
the quantile takes it among ten times as many examples as carry its label. Both factors of the dual T speak of the
predicted class; the paper has posteriors in the first one, and with a model that is not overfitted, whose posteriors
are those of the given labels, it counts the noise twice. Rows of classes without examples are those of I.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.torch_types import integers

QUANTILE = 0.97  # of an anchor's posterior; the best few are outliers
BAND = 0.5  # of the examples above the quantile: an anchor is the mean of so many around it


def confident_joint(labels: Tensor, probabilities: Tensor) -> Tensor:
    """The joint distribution of true and given classes.

    An example counts as one of the class that it is most likely of among those whose posterior reaches the mean
    posterior of that class's own examples; rows of the count are scaled to the given labels' shares.

    Args:
        labels: int64 [N].
        probabilities: float32 [N, C].

    Returns:
        float32 [C, C]: cell [i, j] is the share of examples of true class i with the label j; all of it is 1.
    """
    classes = probabilities.shape[1]
    count = torch.bincount(labels, minlength=classes)  # [C]
    true, sure = confident_classes(labels, probabilities)
    counted = _count(labels[sure], true[sure], classes)  # [given, true]
    counted += torch.diag((counted.sum(dim=1) == 0).to(counted.dtype))  # nothing confident: taken as right
    joint = counted / counted.sum(dim=1, keepdim=True) * count[:, None] / count.sum().clamp_min(1)
    return joint.T.contiguous()


def confident_classes(labels: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """The class that each example is confidently of: int64 [N], and whether there is one: bool [N]. See above."""
    given = functional.one_hot(labels, probabilities.shape[1]).to(probabilities.dtype)  # [N, C]
    count = given.sum(dim=0)  # [C]
    threshold = (given * probabilities).sum(dim=0) / count.clamp_min(1)  # [C]
    reached = (probabilities >= threshold) & (count > 0)
    return probabilities.masked_fill(~reached, -1.0).argmax(dim=1), reached.any(dim=1)


def transition_of(joint: Tensor) -> Tensor:
    """T of a joint distribution [C, C]; a class that never occurs has the row of I."""
    return _rows(joint)


def concentration(joint: Tensor) -> float:
    """Share of the wrong mass that lies in the largest wrong cell of its row, 0..1; evenly spread: 1 / (C - 1)."""
    wrong = joint - torch.diag(joint.diagonal())
    return float(wrong.max(dim=1).values.sum() / wrong.sum().clamp_min(1e-12))


def anchor_transition(labels: Tensor, probabilities: Tensor, quantile: float = QUANTILE) -> Tensor:
    """T from examples that are surely of a class: row i is the mean posterior at the quantile of p_i.

    Args:
        labels: int64 [N].
        probabilities: float32 [N, C], of the given labels.
        quantile: 0..1.

    Returns:
        float32 [C, C].
    """
    return _at_anchors(labels, probabilities, probabilities, quantile)


def _at_anchors(labels: Tensor, probabilities: Tensor, said: Tensor, quantile: float) -> Tensor:
    """Row i: the mean of what is `said` [N, C] of the anchors of class i."""
    total, classes = probabilities.shape
    rows = torch.eye(classes, dtype=probabilities.dtype, device=probabilities.device)
    count = integers(torch.bincount(labels, minlength=classes))
    for i in range(classes):
        if not count[i]:
            continue
        above = (1 - quantile) * min(total, 10 * count[i])  # places from the top
        first, last = int(above * (1 - BAND)), int(above * (1 + BAND)) + 1
        order = probabilities[:, i].argsort(descending=True)
        rows[i] = said[order[first:last]].mean(dim=0)
    return _rows(rows)


def dual_transition(labels: Tensor, probabilities: Tensor, quantile: float = QUANTILE) -> Tensor:
    """T as a product of two that are easier to estimate: true to predicted by anchors, predicted to given by counts.

    Args:
        labels: int64 [N].
        probabilities: float32 [N, C], of the given labels.
        quantile: of the anchors.

    Returns:
        float32 [C, C].
    """
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(dim=1)
    said = functional.one_hot(predicted, classes).to(probabilities.dtype)
    to_predicted = _at_anchors(labels, probabilities, said, quantile)
    to_given = _rows(_count(predicted, labels, classes))
    return to_predicted @ to_given.to(to_predicted.dtype)


def symmetric_transition(rate: float, classes: int) -> Tensor:
    """T of labels that go to every other class alike, float32 [C, C]; `rate` 0..1."""
    away = rate / max(1, classes - 1)
    return torch.full((classes, classes), away).fill_diagonal_(1 - rate if classes > 1 else 1.0)


def _count(rows: Tensor, columns: Tensor, classes: int) -> Tensor:
    """How often each pair occurs, float32 [C, C]."""
    cells = torch.bincount(rows * classes + columns, minlength=classes * classes)
    return cells.view(classes, classes).float()


def _rows(matrix: Tensor) -> Tensor:
    """Rows that add up to 1; a row of zeros becomes that of I."""
    total = matrix.sum(dim=1, keepdim=True)
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return torch.where(total > 0, matrix / total.clamp_min(1e-12), identity)
