"""A run beside others on the same data: plain FedAvg; under attack, also no defence, and nobody hostile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roughfed.report.chart import figure
from roughfed.report.defence import caught
from roughfed.report.layout import lead, pair
from roughfed.report.plots import curves, distinct
from roughfed.report.rough_data import last_with, shots_of, tasks_charts
from roughfed.report.scale import finite
from roughfed.report.summary import RunSummary, compare, last_known
from roughfed.report.tables import UNKNOWN, share, table

THIS, PLAIN = "this run", "plain FedAvg"
UNDEFENDED, CLEAN = "no defence", "no attack"

CURVES: Mapping[str, str] = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "tail_accuracy": "Accuracy of the tail classes",
    "worst_class": "Accuracy of the worst class",
    "memorised_wrong": "Wrong labels that the model repeats",
}
"""Field of a round -> what its chart shows."""

TINY = 0.0005  # half of what is written: 0.1 points


def against(run: RunSummary, plain: RunSummary) -> str:
    """The content of the section."""
    words = "Every figure twice: of this run, and of a run of plain FedAvg on the same data from the same first model."
    courses = [_course(field, caption, run, plain) for field, caption in CURVES.items()]
    both = [f"<div>{''.join(tasks_charts(each, f', {name}'))}</div>" for name, each in ((THIS, run), (PLAIN, plain))]
    tasks = pair(*both) if run.tasks else ""
    blocks = [f"<div>{_figures(run, plain)}</div>", *_classes(run, plain), *courses]
    return lead(words) + pair(*blocks) + tasks


def _figures(run: RunSummary, plain: RunSummary) -> str:
    found = compare(run, plain)
    rows = [
        _row("accuracy", _last(run, "accuracy"), _last(plain, "accuracy")),
        _row("balanced accuracy", found.balanced_accuracy, found.plain_balanced_accuracy),
        _row("worst class", _last(run, "worst_class"), _last(plain, "worst_class")),
        _row("macro-F1", _last(run, "macro_f1"), _last(plain, "macro_f1")),
        _row("tail classes", found.tail_accuracy, found.plain_tail_accuracy) if shots_of(run) else None,
        _row("calibration error (ECE)", *(_last(r, "calibration_error") for r in (run, plain)), less=True),
        _row("forgetting", found.forgetting, found.plain_forgetting, less=True),
        _row("wrong labels repeated", found.memorised_wrong, found.plain_memorised_wrong, less=True),
    ]
    return table(("at the end", THIS, PLAIN, "difference"), [r for r in rows if r is not None], numeric=(1, 2, 3))


def _row(name: str, ours: float | None, theirs: float | None, *, less: bool = False) -> tuple[str, ...] | None:
    """None where neither was measured; `less`: the smaller one is the better one."""
    if ours is None and theirs is None:
        return None
    shown = [share(value) for value in (ours, theirs)]
    if ours is None or theirs is None:
        return (name, *shown, UNKNOWN)
    gain = ours - theirs
    if abs(gain) < TINY:
        return (name, *shown, "the same")
    word = "better" if (gain < 0) == less else "worse"
    return (name, *shown, f"{gain * 100:+.1f} points, {word}")


def _last(run: RunSummary, field: str) -> float | None:
    return last_known(getattr(r, field) for r in run.rounds)


def _classes(run: RunSummary, plain: RunSummary) -> list[str]:
    """Recall by class of both, one above the other."""
    rows = {name: _recall(each) for name, each in ((THIS, run), (PLAIN, plain))}
    width = len(rows[THIS])
    if not width or len(rows[PLAIN]) != width:
        return []
    names = distinct(run.class_names, width, "class")
    return [figure("Recall of each class at the end", "cells", names, rows, "percent", top=1)]


def _recall(run: RunSummary) -> Sequence[float | None]:
    last = last_with(run, "class_accuracy")
    return (last.class_accuracy or []) if last is not None else []


def _course(field: str, caption: str, run: RunSummary, plain: RunSummary) -> str:
    """Both runs by round; nothing where one of them has no course to be shown, or where there is no tail."""
    if field == "tail_accuracy" and shots_of(run) is None:
        return ""
    by_round = [{r.round: getattr(r, field) for r in each.rounds} for each in (run, plain)]
    if not all(len(finite(values.values())) > 1 for values in by_round):
        return ""
    x = sorted(by_round[0].keys() | by_round[1].keys())
    series = {name: [values.get(at) for at in x] for name, values in zip((THIS, PLAIN), by_round, strict=True)}
    return curves(f"{caption} by round", x, series)


def poisoned(run: RunSummary, plain: RunSummary | None, clean: RunSummary | None) -> str:
    """The content of the section: the three runs, as far as they were played."""
    runs = {THIS: run, UNDEFENDED: plain, CLEAN: clean}
    known = {name: each for name, each in runs.items() if each is not None}
    found, played = caught(run), len(run.hostile) * len(run.rounds)
    hostile = ", ".join(run.hostile)
    words = (
        f"{run.attack}: {hostile}. They were left out {found.hits} of {played} times, and honest clients "
        f"{found.false_exclusions} times. Every run begins with the same first model, with the same clients and data."
    )
    head = ("at the end", *known)
    rows = [
        (name, *(share(last_known(getattr(r, field) for r in each.rounds)) for each in known.values()))
        for field, name in AT_THE_END.items()
        if any(getattr(r, field) is not None for each in known.values() for r in each.rounds)
    ]
    figures = table(head, rows, numeric=tuple(range(1, len(head))))
    return lead(words) + pair(f"<div>{figures}</div>", _courses(known))


AT_THE_END = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "worst_class": "worst class",
    "attack_success": "the attacker's goal reached",
}
"""Field of a round -> what the table calls it."""


def _courses(runs: dict[str, RunSummary]) -> str:
    by_round = {name: {r.round: r.accuracy for r in each.rounds} for name, each in runs.items()}
    if not all(finite(values.values()) for values in by_round.values()):
        return ""
    x = sorted({number for values in by_round.values() for number in values})
    return curves("Accuracy by round", x, {name: [values.get(at) for at in x] for name, values in by_round.items()})
