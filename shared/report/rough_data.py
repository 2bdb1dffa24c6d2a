"""Charts of rough data: long tails, what is taken for what, how sure the model is, what is forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from roughfed.measures import Protocol, Shots, TaskMatrix, reliability, shots_by_rank
from roughfed.report.chart import figure
from roughfed.report.layout import captioned, note
from roughfed.report.plots import curves, distinct, numbers
from roughfed.report.scale import number, percent
from roughfed.report.summary import RoundSummary, RunSummary, TaskSpan, task_matrix
from roughfed.report.tables import share, table
from roughfed.types import BINS

LONG = 2.0
"""From this ratio of the largest to the smallest class on, head and tail are spoken of."""

MOST_CONFUSED = 40
"""Classes whose confusion matrix can still be read."""

PROTOCOLS: dict[Protocol, str] = {
    "class-incremental": "class-incremental: the model chose among all classes, those of other tasks too",
    "task-incremental": "task-incremental: the model was told the task, and chose among its classes",
}


def training_counts(run: RunSummary) -> list[int]:
    """Training examples by class, all clients together; empty where nobody knows."""
    if run.class_prior:
        return run.class_prior
    return [sum(column) for column in zip(*run.holdings, strict=True)] if run.holdings else []


def shots_of(run: RunSummary) -> Shots | None:
    """Head, medium and tail; None where the classes are about equally large, or not known."""
    counts = training_counts(run)
    if not counts or max(counts) < LONG * max(min(counts), 1):
        return None
    return shots_by_rank(counts)


def calibrated_table(run: RunSummary) -> str:
    """The finished model beside the version that it was made of."""
    finished = run.calibrated
    if finished is None:
        return ""
    made_of = next((r for r in reversed(run.rounds) if r.version == finished.version), None)
    before = (
        {}
        if made_of is None
        else {
            "accuracy": made_of.accuracy,
            "balanced_accuracy": made_of.balanced_accuracy,
            "worst_class": made_of.worst_class,
            "head": made_of.head_accuracy,
            "medium": made_of.medium_accuracy,
            "tail": made_of.tail_accuracy,
        }
    )
    names = ("accuracy", "balanced_accuracy", "worst_class", "head", "medium", "tail")
    rows = [
        (name.replace("_", " "), *map(share, (before.get(name), after)))
        for name in names
        if (after := getattr(finished, name)) is not None
    ]
    return table(("", f"version {finished.version}", f"finished by {finished.how}"), rows, numeric=(1, 2))


def class_charts(run: RunSummary) -> list[str]:
    """What there is to be seen of classes beside their recall: figures with captions."""
    found: list[str] = []
    if (shots := shots_of(run)) is not None and any(r.tail_accuracy is not None for r in run.rounds):
        series = {part: [getattr(r, f"{part}_accuracy") for r in run.rounds] for part in ("head", "medium", "tail")}
        found.append(curves(f"Head, medium and tail: {_words(shots, run)}", numbers(run), series))
    if (last := last_with(run, "confusion")) is not None:
        found.append(confusion_matrix(last, run.class_names))
    if (last := last_with(run, "calibration")) is not None:
        found.append(calibration(last))
    if run.calibrated is not None:
        found.append(captioned("The classifier that the server finished from sums", calibrated_table(run)))
    if run.client_class_accuracy:
        found.append(client_classes(run))
    return found


def last_with(run: RunSummary, field: str) -> RoundSummary | None:
    """The last round in which something was measured."""
    return next((r for r in reversed(run.rounds) if getattr(r, field)), None)


def confusion_matrix(r: RoundSummary, class_names: Sequence[str]) -> str:
    """Shares of each true class by the class that the model says."""
    caption = f"Confusion matrix, round {r.round}: true class (row), said class (column), % of the row"
    if len(r.confusion) > MOST_CONFUSED:
        return captioned(caption, note(f"{len(r.confusion)} classes: in the summary file"))
    names = distinct(class_names, len(r.confusion), "class")
    shares = {
        name: [n / total if (total := sum(row)) else None for n in row]
        for name, row in zip(names, r.confusion, strict=True)
    }
    return figure(caption, "cells", names, shares, "whole", top=1, faint=False)


def calibration(r: RoundSummary) -> str:
    """How often the model is right against how sure it is (Guo et al., ICML 2017, figure 1)."""
    error = percent(r.calibration_error) if r.calibration_error is not None else "not measured"
    caption = f"Calibration: how right the model is against how sure, round {r.round}; error (ECE): {error}"
    bins = reliability(r.calibration)
    series = {
        "right": [b.accuracy for b in bins],
        "sure": [b.confidence for b in bins],
        "share of the examples": [b.count / sum(b.count for b in bins) for b in bins],
    }
    ends = [f"{percent(b.low)} to {percent(b.high)}" for b in bins]
    return figure(caption, "reliability", ends, series, "percent", low=[b.low for b in bins], wide=1 / BINS)


def client_classes(run: RunSummary) -> str:
    """Recall by client and class."""
    width = max(len(row) for row in run.client_class_accuracy.values())
    classes = distinct(run.class_names, width, "class")
    rows = {client: [*row, *[None] * (width - len(row))] for client, row in run.client_class_accuracy.items()}
    caption = "Recall of each class on each client's own held-out data"
    return figure(caption, "cells", classes, rows, "percent", top=1)


# -- tasks ----------------------------------------------------------------------------------------------------------


def tasks_charts(run: RunSummary, whose: str = "") -> list[str]:
    """The matrix of a run in tasks, and its measures; a sentence where no task is over."""
    matrix = task_matrix(run)
    if matrix is None:
        return [captioned(f"Accuracy by task{whose}", note("no task is over yet"))]
    caption = f"Accuracy on each task (column) right after each task (row){whose}"
    measures = table(("measure", "value", "what it is"), _measures(matrix), numeric=(1,))
    brings = "; ".join(f"task {t + 1} brings {_classes(task, run)}" for t, task in enumerate(run.tasks))
    columns = [f"task {u + 1}" for u in range(len(run.tasks))]
    rows = {f"after task {t + 1}": values for t, values in enumerate(matrix.values)}
    chart = figure(caption, "cells", columns, rows, "percent", top=1)
    return [f"<div>{chart}{note(f'{PROTOCOLS[matrix.protocol]}; {brings}')}</div>", f"<div>{measures}</div>"]


def _measures(matrix: TaskMatrix) -> list[tuple[str, str, str]]:
    rows = [
        ("accuracy", matrix.accuracy, "on the tasks so far, after the last of them"),
        ("plasticity", matrix.plasticity, "on each task right after it was learnt"),
        ("forgetting", matrix.forgetting, "best accuracy before the last task, minus that after it"),
        ("backward transfer", matrix.backward_transfer, "after the last task, minus right after each was learnt"),
        ("forward transfer", matrix.forward_transfer, "before each task was learnt, minus the untrained model's"),
    ]
    return [(name, share(value), what) for name, value, what in rows]


def _classes(task: TaskSpan, run: RunSummary) -> str:
    names = run.class_names
    return ", ".join(names[c] if c < len(names) else number(c) for c in task.classes)


def _words(shots: Shots, run: RunSummary) -> str:
    """Which classes are which, with how many examples."""
    counts, names = training_counts(run), run.class_names
    parts: list[str] = []
    for what, classes in (("head", shots.head), ("tail", shots.tail)):
        listed = ", ".join(names[c] if c < len(names) else number(c) for c in classes)
        parts.append(f"{what} is {listed} ({number(sum(counts[c] for c in classes))} training examples)")
    return "; ".join(parts)
