"""Measures against scikit-learn, against slow definitions, and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from roughfed import measures
from roughfed.measures import Shots, TaskMatrix, class_incremental, figures, shots_by_count, shots_by_rank
from roughfed.types import BINS, CONFIDENCE_ONE, Evaluation


def evaluation(
    true: list[int], predicted: list[int], classes: int, confidence: list[float] | None = None
) -> Evaluation:
    """What a trainer counts, one example after another."""
    table = np.zeros((classes, classes), dtype=int)
    bins = np.zeros((3, BINS), dtype=int)
    for at, (t, p) in enumerate(zip(true, predicted, strict=True)):
        table[t, p] += 1
        if confidence is not None:
            place = min(max(math.ceil(confidence[at] * BINS) - 1, 0), BINS - 1)
            bins[:, place] += [1, t == p, round(confidence[at] * CONFIDENCE_ONE)]
    return Evaluation(
        bytes(32),
        len(true),
        0.0,
        tuple(table.sum(axis=1).tolist()),
        tuple(table.diagonal().tolist()),
        confusion=tuple(table.reshape(-1).tolist()),
        calibration=() if confidence is None else tuple(bins.reshape(-1).tolist()),
    )


pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60)


@given(pairs=pairs)
def test_measures_of_classes_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    true, predicted = [t for t, _ in pairs], [p for _, p in pairs]
    found = figures(evaluation(true, predicted, 6))
    recalls = metrics.recall_score(true, predicted, labels=sorted(set(true)), average=None, zero_division=0)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(true, predicted))
    assert found.balanced == pytest.approx(sum(recalls) / len(recalls))
    assert found.worst == pytest.approx(min(recalls))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(true, predicted, average="macro", zero_division=0))


@given(
    examples=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, CONFIDENCE_ONE)), min_size=1, max_size=60
    )
)
def test_the_calibration_error_is_that_of_its_definition(examples: list[tuple[int, int, int]]) -> None:
    true, predicted, units = (list(column) for column in zip(*examples, strict=True))
    sure = [unit / CONFIDENCE_ONE for unit in units]
    want = 0.0
    for b in range(BINS):
        inside = [i for i, s in enumerate(sure) if b / BINS < s <= (b + 1) / BINS or (b == 0 and s == 0)]
        if inside:
            hits = sum(true[i] == predicted[i] for i in inside) / len(inside)
            want += len(inside) / len(sure) * abs(hits - sum(sure[i] for i in inside) / len(inside))
    assert figures(evaluation(true, predicted, 4, sure)).calibration_error == pytest.approx(want, abs=1e-12)


def test_bins_by_hand() -> None:
    counted = evaluation([0, 0, 0, 1], [0, 0, 1, 1], 2, [1.0, 0.75, 0.75, 0.5])
    low, middle, high = measures.reliability(counted.calibration)
    assert (low.count, low.accuracy, low.confidence) == (1, 1.0, 0.5)
    assert (middle.count, middle.accuracy, middle.confidence) == (2, 0.5, 0.75)
    assert (high.low, high.high, high.confidence) == (14 / 15, 1.0, 1.0)
    assert measures.calibration_error(counted.calibration) == pytest.approx(0.25 * 0.5 + 0.5 * 0.25)


@pytest.mark.parametrize(
    ("counts", "shots"),
    [
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], Shots((0, 1, 2), (3, 4, 5, 6), (7, 8, 9))),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], Shots((7, 8, 9), (3, 4, 5, 6), (0, 1, 2))),
        ([5, 5, 5, 5], Shots((0,), (1, 2), (3,))),
        ([1, 2, 3], Shots((2,), (1,), (0,))),
        ([1, 2], Shots((1,), (), (0,))),
        ([1], Shots((), (), ())),
        ([], Shots((), (), ())),
    ],
)
def test_classes_by_rank(counts: list[int], shots: Shots) -> None:
    assert shots_by_rank(counts) == shots


def test_classes_by_the_cut_offs_of_imagenet_lt() -> None:
    assert shots_by_count([101, 100, 20, 19, 0]) == Shots((0,), (1, 2), (3, 4))


def test_head_medium_and_tail_by_hand() -> None:
    counted = Evaluation(bytes(32), 45, 0.0, (10, 10, 5, 10, 10), (9, 6, 0, 3, 1))
    found = figures(counted, [50, 40, 30, 20, 10])
    assert (found.head, found.tail) == (0.9, 0.1)
    assert found.medium == pytest.approx((0.6 + 0.0 + 0.3) / 3)
    for unknown in ([], [1, 2], [0] * 5):
        assert figures(counted, unknown).tail is None


def test_nothing_measured_is_none() -> None:
    empty = figures(Evaluation(bytes(32), 0, 0.0, (0, 0), (0, 0), confusion=(0,) * 4, calibration=(0,) * 45), [1, 2])
    assert {getattr(empty, field) for field in empty.__slots__} == {None}
    assert figures(Evaluation(bytes(32), 3, 1.0)) == measures.Figures()


def test_memorised_wrong_labels_by_hand() -> None:
    assert measures.memorised([0, 1, 2, 2], [0, 1, 2, 1], [0, 0, 0, 0]) == pytest.approx(2 / 3)
    assert measures.memorised([1], [0], [0]) is None


A = ((0.9, 0.1, 0.2), (0.5, 0.8, 0.3), (0.3, 0.6, 0.7))


def test_measures_of_tasks_by_hand() -> None:
    found = TaskMatrix(A, "class-incremental", (0.1, 0.05, 0.1))
    assert found.accuracy == pytest.approx((0.3 + 0.6 + 0.7) / 3)
    assert found.plasticity == pytest.approx((0.9 + 0.8 + 0.7) / 3)
    assert found.backward_transfer == pytest.approx((-0.6 - 0.2) / 2)
    assert found.forgetting == pytest.approx((0.6 + 0.2) / 2)
    assert found.forward_transfer == pytest.approx((0.05 + 0.2) / 2)
    assert TaskMatrix(A, "task-incremental").forward_transfer is None


def test_a_task_that_got_better_later_is_forgotten_from_its_best() -> None:
    found = TaskMatrix(((0.5, 0.0, 0.0), (0.8, 0.6, 0.0), (0.7, 0.6, 0.9)), "task-incremental")
    assert found.forgetting == pytest.approx((0.1 + 0.0) / 2)
    assert found.backward_transfer == pytest.approx((0.2 + 0.0) / 2)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_run_that_is_not_over_speaks_of_the_tasks_so_far(done: int) -> None:
    found = TaskMatrix(A[:done], "class-incremental")
    if done < 2:
        assert found.forgetting is found.backward_transfer is None
        assert found.accuracy == found.plasticity == (0.9 if done else None)
    else:
        assert found.forgetting == pytest.approx(0.4)
        assert found.accuracy == pytest.approx(0.65)


def test_recalls_by_class_become_accuracies_by_task() -> None:
    recalls = [(1.0, 0.5, 0.0, None), (0.25, 0.25, 1.0, None)]
    found = class_incremental(recalls, [(0, 1), (2, 3)], (0.0, 0.5, 0.0, 0.0))
    assert found == TaskMatrix(((0.75, 0.0), (0.25, 1.0)), "class-incremental", (0.25, 0.0))
    assert class_incremental([(0.5,)], [(0,), (3,)]).values == ((0.5, None),)


def test_pooling_adds_sums_and_takes_clients_that_know_fewer_classes() -> None:
    three, one = Evaluation(bytes(32), 30, 15.0, (10,) * 3, (5,) * 3), Evaluation(bytes(32), 10, 5.0, (10,), (10,))
    both = measures.pooled([three, one, Evaluation(bytes(32), 0, 0.0)])
    assert both == Evaluation(bytes(32), 40, 20.0, (20, 10, 10), (15, 5, 5))
    assert measures.pooled([Evaluation(bytes(32), 0, 0.0)]) is None
