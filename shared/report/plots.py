"""The charts of a run: from its summary to the general drawings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from roughfed.report.bars import bars, stacked_bars
from roughfed.report.columns import stacked_columns
from roughfed.report.heat import heat_map
from roughfed.report.lines import line_chart
from roughfed.report.scale import byte_ticks, finite, number, percent, seconds, size, ticks
from roughfed.report.summary import RoundSummary, RunSummary
from roughfed.report.svg import NUM_COLOURS, Axis, empty
from roughfed.report.words import VOID

MAX_HEAT_COLUMNS = 60
MIN_SPAN = 0.1  # of an accuracy axis
WHOLE = (1, 2, 5, 10)  # steps for what is counted


def holdings_svg(
    counts: Sequence[Sequence[int]] | NDArray[np.int64], client_names: Sequence[str], class_names: Sequence[str] = ()
) -> str:
    """Who holds what: a stack of classes for each client, or a heat map where colours would not tell classes apart.

    Args:
        counts: examples by client and class, [K, C].
        client_names: K names; others are numbered.
        class_names: C names; empty: the classes are numbered.

    Returns:
        an SVG element.
    """
    rows = [[int(n) for n in row] for row in counts]
    title = "Examples by client and class"
    if not rows or not rows[0]:
        return empty(title, "not known")
    held = dict(zip(distinct(client_names, len(rows), "client"), rows, strict=True))
    classes = distinct(class_names, len(rows[0]), "class")
    if len(classes) > NUM_COLOURS:
        return heat_map(title, held, columns=classes, high=max(max(row) for row in rows), form=number)
    axis = Axis(ticks(0, max(sum(row) for row in rows), step_of=WHOLE), number)
    return stacked_bars(title, held, parts=classes, axis=axis)


def accuracy_svg(run: RunSummary) -> str:
    """Accuracy and balanced accuracy by round."""
    series = {
        "accuracy": [r.accuracy for r in run.rounds],
        "balanced accuracy": [r.balanced_accuracy for r in run.rounds],
    }
    summed = [r.together.accuracy if r.together else None for r in run.rounds]
    if any(value not in (None, r.accuracy) for value, r in zip(summed, run.rounds, strict=True)):
        series["clients' data, summed"] = summed  # else it is what the first curve shows
    series = {name: values for name, values in series.items() if finite(values)}
    return line_chart("Accuracy by round", series, x=_rounds(run), axis=share_axis(series.values()))


def loss_svg(run: RunSummary) -> str:
    """Loss by round, from 0."""
    values = [r.loss for r in run.rounds]
    axis = Axis(ticks(min(0.0, *finite(values), 0.0), max([*finite(values), 0.0])), number)
    return line_chart("Loss by round", {"loss": values}, x=_rounds(run), axis=axis)


def class_accuracy_svg(run: RunSummary) -> str:
    """Accuracy by class in the last round in which it was measured."""
    last = next((r.class_accuracy for r in reversed(run.rounds) if r.class_accuracy), None)
    title = "Accuracy by class, last measured"
    if last is None:
        return empty(title, "not measured")
    names = distinct(run.class_names, len(last), "class")
    return bars(title, dict(zip(names, last, strict=True)), axis=SHARE)


def class_history_svg(run: RunSummary) -> str:
    """Accuracy by class over the rounds: what is learnt late, what is forgotten."""
    measured = [r for r in run.rounds if r.class_accuracy]
    title = "Accuracy by class over the rounds"
    if not measured:
        return empty(title, "not measured")
    shown = _thin(measured, MAX_HEAT_COLUMNS)
    width = max(len(r.class_accuracy or ()) for r in shown)
    rows = {
        name: [(r.class_accuracy or [])[c] if c < len(r.class_accuracy or ()) else None for r in shown]
        for c, name in enumerate(distinct(run.class_names, width, "class"))
    }
    return heat_map(title, rows, columns=[str(r.round) for r in shown], high=1.0, form=percent)


def client_accuracy_svg(run: RunSummary) -> str:
    """Accuracy on each client's own held-out data, worst first, in the last round in which it was measured."""
    last = next((r.client_accuracy for r in reversed(run.rounds) if r.client_accuracy), dict[str, float]())
    return bars("Accuracy by client, on its own held-out data", dict(sorted(last.items(), key=_by_value)), axis=SHARE)


def bytes_svg(run: RunSummary) -> str:
    """Bytes up and down by round, all clients together."""
    series = {"up": [float(r.upload_bytes) for r in run.rounds], "down": [float(r.download_bytes) for r in run.rounds]}
    high = max((a + b for a, b in zip(*series.values(), strict=True)), default=0.0)
    return stacked_columns("Bytes by round", series, x=_rounds(run), axis=Axis(byte_ticks(high), size))


def participation_svg(run: RunSummary) -> str:
    """How many clients were counted, left out or lost, by round."""
    series = {
        "counted": [float(len(r.accepted)) for r in run.rounds],
        "dropped out": [float(len(r.dropped)) for r in run.rounds],
        "excluded": [float(sum(why != VOID for _, why in r.excluded)) for r in run.rounds],
        "in a void group": [float(sum(why == VOID for _, why in r.excluded)) for r in run.rounds],
    }
    high = max((sum(column) for column in zip(*series.values(), strict=True)), default=0.0)
    series = {name: values for name, values in series.items() if name == "counted" or any(values)}
    axis = Axis(ticks(0, max(high, 2), step_of=WHOLE), number)
    return stacked_columns("Clients by round", series, x=_rounds(run), axis=axis)


def phases_svg(run: RunSummary) -> str:
    """Seconds by phase and round; rounds that name no phases show their whole time."""
    names = list(dict.fromkeys(name for r in run.rounds for name in r.phase_seconds))
    if names:
        series = {name: [r.phase_seconds.get(name, 0.0) for r in run.rounds] for name in names}
    else:
        series = {"round": [r.seconds for r in run.rounds]}
    high = max((sum(column) for column in zip(*series.values(), strict=True)), default=0.0)
    axis = Axis(ticks(0, high), seconds)
    return stacked_columns("Time by phase", series, x=_rounds(run), axis=axis)


def share_axis(series: Iterable[Sequence[float | None]]) -> Axis:
    """An axis for shares of 1 that leaves out what no curve reaches."""
    known = [v for values in series for v in finite(values)] or [0.0, 1.0]
    low, high = min(known), max(known)
    spare = max(MIN_SPAN - (high - low), 0) / 2  # differences of a tenth of a point must not fill the chart
    marks = [t for t in ticks(low - spare, high + spare) if -1e-9 <= t <= 1 + 1e-9]
    return Axis(_at_least_two(marks), percent)


SHARE = Axis((0.0, 0.25, 0.5, 0.75, 1.0), percent)


def _rounds(run: RunSummary) -> list[int]:
    return [r.round for r in run.rounds]


def _by_value(item: tuple[str, float]) -> float:
    return item[1]


def _at_least_two(marks: list[float]) -> list[float]:
    """A value axis has a length, also when every value is the same."""
    return marks if len(marks) > 1 else [0.0, 1.0]


def _thin(rounds: list[RoundSummary], most: int) -> list[RoundSummary]:
    """At most `most` of them, evenly spread, the last one included."""
    chosen = np.unique(np.linspace(0, len(rounds) - 1, min(most, len(rounds))).round().astype(int))
    return [rounds[int(i)] for i in chosen]


def distinct(names: Sequence[str], count: int, what: str) -> list[str]:
    """`count` different names: the given ones when they fit, else numbered; classes from 0 like their labels."""
    if len(names) == count and len(set(names)) == count:
        return list(names)
    first = 0 if what == "class" else 1
    return [f"{what} {i + first}" if what != "class" else str(i) for i in range(count)]
