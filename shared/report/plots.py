"""The charts of a run, from its summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from roughfed.report.chart import Form, figure
from roughfed.report.scale import finite
from roughfed.report.summary import RoundSummary, RunSummary
from roughfed.report.words import VOID

MAX_HEAT_COLUMNS = 60
NUM_COLOURS = 10
"""Series that colours tell apart (`roughfed.charts`)."""

Curves = Mapping[str, Sequence[float | None]]


def holdings(
    caption: str,
    counts: Sequence[Sequence[int]] | NDArray[np.int64],
    client_names: Sequence[str],
    class_names: Sequence[str] = (),
) -> str:
    """Who holds what: a stack of classes for each client, or cells where colours would not tell classes apart.

    Args:
        caption: of the figure.
        counts: examples by client and class, [K, C].
        client_names: K names; others are numbered.
        class_names: C names; empty: the classes are numbered.
    """
    rows = [[int(n) for n in row] for row in counts]
    clients = distinct(client_names, len(rows), "client")
    classes = distinct(class_names, len(rows[0]) if rows else 0, "class")
    if len(classes) > NUM_COLOURS:
        return figure(caption, "cells", classes, dict(zip(clients, rows, strict=True)), "count")
    by_class = {name: [row[c] for row in rows] for c, name in enumerate(classes)}
    return figure(caption, "bars", clients, by_class, "count")


def curves(caption: str, rounds: Sequence[int], series: Curves, form: Form = "percent") -> str:
    """Curves over rounds, without those of which nothing is known; shares of 1 with an axis for what they reach."""
    known = {name: values for name, values in series.items() if finite(values)}
    return figure(caption, "lines", rounds, known, form, share=form == "percent")


def accuracy(run: RunSummary) -> str:
    """Accuracy and balanced accuracy by round."""
    series = {
        "accuracy": [r.accuracy for r in run.rounds],
        "balanced accuracy": [r.balanced_accuracy for r in run.rounds],
    }
    summed = [r.together.accuracy if r.together else None for r in run.rounds]
    if any(value not in (None, r.accuracy) for value, r in zip(summed, run.rounds, strict=True)):
        series["clients' data, summed"] = summed  # else it is what the first curve shows
    return curves("Accuracy by round", numbers(run), series)


def class_accuracy(caption: str, shares: Sequence[float | None], class_names: Sequence[str]) -> str:
    """Accuracy by class."""
    return figure(caption, "bars", distinct(class_names, len(shares), "class"), {"accuracy": shares}, "percent")


def class_history(run: RunSummary) -> str:
    """Accuracy by class over the rounds: what is learnt late, what is forgotten; nothing of a single round."""
    measured = [r for r in run.rounds if r.class_accuracy]
    if len(measured) < 2:
        return ""
    shown = _thin(measured, MAX_HEAT_COLUMNS)
    width = max(len(r.class_accuracy or ()) for r in shown)
    rows = {
        name: [(r.class_accuracy or [])[c] if c < len(r.class_accuracy or ()) else None for r in shown]
        for c, name in enumerate(distinct(run.class_names, width, "class"))
    }
    columns = [str(r.round) for r in shown]
    return figure("Accuracy by class over the rounds", "cells", columns, rows, "percent", top=1, across="round")


def client_accuracy(run: RunSummary) -> str:
    """Accuracy on each client's own held-out data, worst first, in the last round in which it was measured."""
    last = next((r.client_accuracy for r in reversed(run.rounds) if r.client_accuracy), None)
    if last is None:
        return ""
    ranked = sorted(last, key=lambda name: last[name])
    caption = "Accuracy on its own held-out data, worst first"
    return figure(caption, "bars", ranked, {"accuracy": [last[name] for name in ranked]}, "percent")


def traffic(run: RunSummary) -> str:
    """Bytes up and down by round, all clients together."""
    series = {"up": [float(r.upload_bytes) for r in run.rounds], "down": [float(r.download_bytes) for r in run.rounds]}
    return figure("Bytes, all clients", "columns", numbers(run), series, "size")


def participation(run: RunSummary) -> str:
    """How many clients were counted, left out or lost, by round."""
    series = {
        "counted": [len(r.accepted) for r in run.rounds],
        "dropped out": [len(r.dropped) for r in run.rounds],
        "excluded": [sum(why != VOID for _, why in r.excluded) for r in run.rounds],
        "in a void group": [sum(why == VOID for _, why in r.excluded) for r in run.rounds],
    }
    series = {name: values for name, values in series.items() if name == "counted" or any(values)}
    return figure("Clients by round", "columns", numbers(run), series, "count")


def phases(run: RunSummary) -> str:
    """Seconds by phase and round; rounds that name no phases show their whole time."""
    names = list(dict.fromkeys(name for r in run.rounds for name in r.phase_seconds))
    series = {name: [r.phase_seconds.get(name, 0.0) for r in run.rounds] for name in names}
    caption = "Time by phase"
    return figure(caption, "columns", numbers(run), series or {"round": [r.seconds for r in run.rounds]}, "seconds")


def numbers(run: RunSummary) -> list[int]:
    """Of its rounds."""
    return [r.round for r in run.rounds]


def distinct(names: Sequence[str], count: int, what: str) -> list[str]:
    """`count` different names: the given ones when they fit, else numbered; classes from 0 like their labels."""
    if len(names) == count and len(set(names)) == count:
        return list(names)
    return [str(i) if what == "class" else f"{what} {i + 1}" for i in range(count)]


def _thin(rounds: list[RoundSummary], most: int) -> list[RoundSummary]:
    """At most `most` of them, evenly spread, the last one included."""
    chosen = np.unique(np.linspace(0, len(rounds) - 1, min(most, len(rounds))).round().astype(int))
    return [rounds[int(i)] for i in chosen]
