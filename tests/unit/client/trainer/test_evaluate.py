"""client/trainer/evaluate: the sums against scikit-learn, and by hand."""

import math

import pytest
import torch
from sklearn.metrics import confusion_matrix
from torch import nn

from roughfed.client.trainer.evaluation.evaluate import Sums, evaluate
from roughfed.client.trainer.examples.batches import open_source
from roughfed.errors import ConfigError
from roughfed.types import BINS, CONFIDENCE_ONE

CPU = torch.device("cpu")


def counted(logits: torch.Tensor, y: torch.Tensor, task: str = "classification") -> Sums:
    return evaluate(nn.Identity(), open_source((logits, y), CPU, torch.float32), task, report=lambda _: None)  # type: ignore[arg-type]


def test_classification_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    y = torch.tensor([0, 1, 1, 2])
    sums = counted(logits, y)
    assert (sums.class_count, sums.class_correct) == ((1, 2, 1), (1, 1, 1))
    assert sums.confusion == (1, 0, 0, 1, 1, 0, 0, 0, 1)
    sure = math.exp(2) / (math.exp(2) + 2)  # 0.787: the bin from 11/15 to 12/15
    bins = dict.fromkeys(range(3 * BINS), 0) | {11: 4, 11 + BINS: 3, 11 + 2 * BINS: round(4 * sure * CONFIDENCE_ONE)}
    assert sums.calibration == tuple(bins.values())
    want = torch.nn.functional.cross_entropy(logits, y, reduction="sum")
    assert sums.loss_sum == pytest.approx(float(want))


def test_regression_by_hand() -> None:
    sums = counted(torch.tensor([[1.0], [4.0]]), torch.tensor([0.0, 6.0]), "regression")
    assert sums == Sums(2, 5.0, absolute_error_sum=3.0)


@pytest.mark.parametrize("classes", [7, 65])
def test_any_number_of_batches_counts_as_scikit_learn_does(classes: int) -> None:
    draw = torch.Generator().manual_seed(classes)
    logits = 3 * torch.randn(700, classes, generator=draw)
    logits[5] = math.nan  # a model that diverged
    y = torch.randint(0, classes, (700,), generator=draw)
    sums = counted(logits, y)
    table = confusion_matrix(y, logits.nan_to_num(0).argmax(dim=1), labels=list(range(classes)))
    assert sums.class_count == tuple(table.sum(axis=1).tolist())
    assert sums.class_correct == tuple(table.diagonal().tolist())
    assert sums.confusion == (tuple(table.reshape(-1).tolist()) if classes <= 64 else ())
    count, correct, confidence = (sums.calibration[at : at + BINS] for at in (0, BINS, 2 * BINS))
    assert (sum(count), sum(correct)) == (700, sum(sums.class_correct))
    want = logits.double().softmax(dim=1).amax(dim=1).nan_to_num(0).sum()
    assert sum(confidence) == pytest.approx(float(want) * CONFIDENCE_ONE, abs=BINS)


@pytest.mark.parametrize(("label", "said"), [(3, "0 to 3"), (-1, "-1 to 0")])
def test_labels_outside_the_output_are_refused(label: int, said: str) -> None:
    with pytest.raises(ConfigError, match=f"labels from {said}, the model's output has 3 classes"):
        counted(torch.zeros(2, 3), torch.tensor([0, label]))
