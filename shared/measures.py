"""What sums over held-out data say: recall by class, long tails, calibration, forgetting. Nothing else computes these.

C is the number of classes, T the number of tasks, R the tasks that are over. A confusion matrix is int64 [C, C]: row =
true class, column = predicted class. A measure of nothing is None.

* Expected calibration error: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, eq. 3.
* Many, medium and few shots: Liu et al., "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019, section 5.
* Backward and forward transfer: Lopez-Paz, Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017,
  section 2; forgetting: Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from roughfed.types import BINS, CONFIDENCE_ONE, Evaluation

Confusion = NDArray[np.int64]
Shares = tuple[float | None, ...]
Protocol = Literal["class-incremental", "task-incremental"]

MANY, FEW = 100, 20
"""ImageNet-LT: a class with more training examples than MANY is a head class, one with fewer than FEW a tail class."""


@dataclass(frozen=True, slots=True)
class Shots:
    """The classes by how many training examples they have; class numbers in increasing order."""

    head: tuple[int, ...]
    medium: tuple[int, ...]
    tail: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """One evaluation in numbers, each 0..1; None where it was not measured.

    Attributes:
        accuracy: share of correct examples.
        balanced: mean recall over the classes that have examples.
        worst: the smallest of these recalls.
        macro_f1: mean F1 over the classes that have, or were given, examples.
        head: mean recall over the classes with most training examples.
        medium: likewise, those in between.
        tail: likewise, those with fewest.
        calibration_error: mean distance of confidence and accuracy (ECE).
    """

    accuracy: float | None = None
    balanced: float | None = None
    worst: float | None = None
    macro_f1: float | None = None
    head: float | None = None
    medium: float | None = None
    tail: float | None = None
    calibration_error: float | None = None


def figures(evaluation: Evaluation, class_counts: Sequence[int] = ()) -> Figures:
    """The measures of an evaluation.

    Args:
        evaluation: sums over one or several clients.
        class_counts: training examples of each class, C integers; without them nobody knows head and tail.
    """
    recall = recall_by_class(evaluation)
    table = confusion_matrix(evaluation)
    fits = len(class_counts) == len(recall) and any(class_counts)
    shots = shots_by_rank(class_counts) if fits else Shots((), (), ())
    return Figures(
        accuracy=evaluation.accuracy,
        balanced=mean(recall),
        worst=min((share for share in recall if share is not None), default=None),
        macro_f1=None if table is None else macro_f1(table),
        head=mean(recall[c] for c in shots.head),
        medium=mean(recall[c] for c in shots.medium),
        tail=mean(recall[c] for c in shots.tail),
        calibration_error=calibration_error(evaluation.calibration),
    )


def pooled(evaluations: Iterable[Evaluation]) -> Evaluation | None:
    """Several evaluations of one model as if their examples lay together; None when there is no example.

    Where one of them lacks a confusion matrix or a calibration, or is of other classes, the whole has none.
    """
    parts = [e for e in evaluations if e.num_examples]
    if not parts:
        return None
    widths = {len(e.class_count) for e in parts}
    return Evaluation(
        parts[0].model_digest,
        sum(e.num_examples for e in parts),
        sum(e.loss_sum for e in parts),
        _added([e.class_count for e in parts]),
        _added([e.class_correct for e in parts]),
        sum(e.absolute_error_sum for e in parts),
        _added([e.confusion for e in parts]) if len(widths) == 1 and all(e.confusion for e in parts) else (),
        _added([e.calibration for e in parts]) if all(e.calibration for e in parts) else (),
    )


def _added(rows: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(sum(column) for column in zip_longest(*rows, fillvalue=0))


def mean(shares: Iterable[float | None]) -> float | None:
    """Mean of those that were measured."""
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None


# -- classes --------------------------------------------------------------------------------------------------------


def recall_by_class(evaluation: Evaluation) -> Shares:
    """Share of correct examples of each class; None for a class without any."""
    return tuple(k / n if n else None for k, n in zip(evaluation.class_correct, evaluation.class_count, strict=True))


def confusion_matrix(evaluation: Evaluation) -> Confusion | None:
    """int64 [C, C]; None where it was not counted."""
    if not evaluation.confusion:
        return None
    width = len(evaluation.class_count)
    return np.array(evaluation.confusion, dtype=np.int64).reshape(width, width)


def macro_f1(table: Confusion) -> float | None:
    """Mean of 2 TP / (2 TP + FP + FN) over the classes that occur, as true or as predicted ones."""
    both = table.sum(axis=0) + table.sum(axis=1)  # [C]: 2 TP + FP + FN
    occurs = both > 0
    if not occurs.any():
        return None
    return float((2 * table.diagonal()[occurs] / both[occurs]).mean())


def shots_by_rank(class_counts: Sequence[int]) -> Shots:
    """Thirds of the classes by rank, the middle takes the rest: 3, 4 and 3 of ten. Of equal classes the first lead.

    A single class is none of them; two are head and tail.
    """
    ranked = sorted(range(len(class_counts)), key=lambda c: (-class_counts[c], c))
    ends = max(len(ranked) // 3, 1) if len(ranked) > 1 else 0
    rest = ranked[ends : len(ranked) - ends] if ends else []
    return Shots(
        tuple(sorted(ranked[:ends])), tuple(sorted(rest)), tuple(sorted(ranked[len(ranked) - ends :] if ends else []))
    )


def shots_by_count(class_counts: Sequence[int], *, many: int = MANY, few: int = FEW) -> Shots:
    """By fixed cut-offs, those of ImageNet-LT unless told otherwise."""
    classes = range(len(class_counts))
    return Shots(
        tuple(c for c in classes if class_counts[c] > many),
        tuple(c for c in classes if few <= class_counts[c] <= many),
        tuple(c for c in classes if class_counts[c] < few),
    )


def memorised(predicted: Sequence[int], given: Sequence[int], true: Sequence[int]) -> float | None:
    """Of the training examples with a wrong label, the share for which the model repeats it.

    Args:
        predicted: classes that the model says, N integers.
        given: labels that it was trained with.
        true: what they should have been; only who made the noise knows.
    """
    wrong = [p == g for p, g, t in zip(predicted, given, true, strict=True) if g != t]
    return sum(wrong) / len(wrong) if wrong else None


# -- confidence -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reliability:
    """One bin of confidence that has examples.

    Attributes:
        low: lower end of the bin, 0..1.
        high: upper end, 0..1.
        count: examples.
        accuracy: share of correct ones.
        confidence: their mean confidence.
    """

    low: float
    high: float
    count: int
    accuracy: float
    confidence: float


def reliability(calibration: Sequence[int]) -> list[Reliability]:
    """The bins of a calibration ([3 x BINS] sums, see `Evaluation`) that have examples, in increasing order."""
    if len(calibration) != 3 * BINS:
        return []
    rows = zip(*(calibration[at : at + BINS] for at in (0, BINS, 2 * BINS)), strict=True)
    return [
        Reliability(b / BINS, (b + 1) / BINS, n, correct / n, confidence / CONFIDENCE_ONE / n)
        for b, (n, correct, confidence) in enumerate(rows)
        if n
    ]


def calibration_error(calibration: Sequence[int]) -> float | None:
    """Guo et al., eq. 3: sum over the bins of n_b / N times |accuracy - confidence|."""
    bins = reliability(calibration)
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / total if total else None


# -- tasks ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskMatrix:
    """A[t, u], the accuracy on task u right after task t. Everything below is measured after the last row.

    Attributes:
        values: R rows of T shares; None: not measured.
        protocol: whether the model had to tell all classes apart ("class-incremental"), or only those of the task it
            was asked about ("task-incremental"). The two are not comparable.
        untrained: accuracy of the first model on each task, T shares, or empty where it is not known.
    """

    values: tuple[Shares, ...]
    protocol: Protocol
    untrained: Shares = ()

    @property
    def accuracy(self) -> float | None:
        """ACC: mean accuracy on the tasks learnt so far."""
        return mean(self.values[-1][: len(self.values)]) if self.values else None

    @property
    def plasticity(self) -> float | None:
        """Mean accuracy on each task right after it was learnt."""
        return mean(row[t] for t, row in enumerate(self.values))

    @property
    def backward_transfer(self) -> float | None:
        """BWT: mean over the earlier tasks of A[last, u] - A[u, u]; negative where the model forgot."""
        return mean(_minus(self.values[-1][u], self.values[u][u]) for u in self._earlier)

    @property
    def forgetting(self) -> float | None:
        """Mean over the earlier tasks of max over t < last of A[t, u], minus A[last, u]; positive: it forgot."""
        return mean(_minus(self._best(u), self.values[-1][u]) for u in self._earlier)

    @property
    def forward_transfer(self) -> float | None:
        """FWT: mean over the tasks but the first of A[u - 1, u] minus the untrained model's accuracy on u."""
        if not self.untrained:
            return None
        return mean(_minus(self.values[u][u + 1], self.untrained[u + 1]) for u in self._earlier)

    @property
    def _earlier(self) -> range:
        return range(max(len(self.values) - 1, 0))

    def _best(self, task: int) -> float | None:
        return max((share for row in self.values[:-1] if (share := row[task]) is not None), default=None)


def forgotten(best: Shares, recall: Shares) -> float | None:
    """Mean over the classes of the best recall of any earlier model minus the newest one's; positive: it forgot.

    Chaudhry et al., section 3, of every model against all before it, a class being a task: for runs whose tasks nobody
    has named. None where no class was measured before.
    """
    return mean(_minus(before, now) for before, now in zip(best, recall, strict=False))


def best_of(best: Shares, recall: Shares) -> Shares:
    """By class the better of two recalls; None where neither is known."""
    pairs = zip_longest(best, recall)
    return tuple(max((share for share in pair if share is not None), default=None) for pair in pairs)


def class_incremental(recalls: Sequence[Shares], tasks: Sequence[Sequence[int]], untrained: Shares = ()) -> TaskMatrix:
    """A[t, u] out of recalls by class: the model chose among all classes, so the protocol is class-incremental.

    A task's accuracy is the mean recall of its classes, which is the share of correct examples where the classes have
    equally many. Task-incremental accuracy cannot be had from recalls: it needs the logits without other tasks'
    classes.

    Args:
        recalls: at the end of each task that is over, the recall of each of C classes.
        tasks: the classes of each of T tasks.
        untrained: recall by class of the first model; empty: not known.
    """

    def by_task(recall: Shares) -> Shares:
        return tuple(mean(recall[c] for c in classes if c < len(recall)) for classes in tasks)

    return TaskMatrix(
        tuple(by_task(recall) for recall in recalls[: len(tasks)]),
        "class-incremental",
        by_task(untrained) if untrained else (),
    )


def _minus(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right
