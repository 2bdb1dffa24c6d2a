"""Fairness: how unequal the common model serves the clients, and how the rule weighed them against that."""

from __future__ import annotations

from roughfed.report.chart import figure
from roughfed.report.heterogeneity.parts import FairnessFigures, Spread
from roughfed.report.layout import MAX_COLUMNS, MAX_ROWS, lead, note, pair
from roughfed.report.plots import curves, numbers
from roughfed.report.scale import finite, number, percent
from roughfed.report.summary import RunSummary

PARTS = {"best10": "best tenth", "mean": "mean", "worst10": "worst tenth"}
CLAIM = (
    "A weight follows the loss that the client says it has: a claim. A client that overstates it gains weight, at most "
    "up to the cap; the defence's verdicts come first."
)
UNWEIGHED = "No fairness rule weighed the clients; the figures are what clients say of themselves."


def was_fair(run: RunSummary) -> bool:
    """Whether a rule weighed clients by their loss, or how unequal they fare was measured."""
    return any(r.heterogeneity.fairness is not None for r in run.rounds) or any(
        s.worst10 is not None for s in _spreads(run)
    )


def fairness(run: RunSummary) -> str:
    """The content of the section."""
    last = next((r.heterogeneity.fairness for r in reversed(run.rounds) if r.heterogeneity.fairness is not None), None)
    return (
        lead(_lead(run, last))
        + pair(*_over_rounds(run), _weights(run, last))
        + note(UNWEIGHED if last is None else CLAIM)
    )


def _spreads(run: RunSummary) -> list[Spread]:
    """The common model's, a round at a time."""
    empty = Spread()
    return [r.heterogeneity.spread.models.get("global", empty) if r.heterogeneity.spread else empty for r in run.rounds]


def _lead(run: RunSummary, last: FairnessFigures | None) -> str:
    words = "" if last is None else f"The rule is {last.rule}{_strength(last.strength)}. "
    known = next((s for s in reversed(_spreads(run)) if s.worst10 is not None and s.mean is not None), None)
    if known is None or known.worst10 is None or known.mean is None:
        return words + "How unequal the clients fare was not measured."
    std = "" if known.std is None else f", standard deviation {number(float(f'{known.std * 100:.3g}'))} points"
    return (
        f"{words}The common model: {percent(known.mean)} on average, {percent(known.worst10)} for the worst tenth{std}."
    )


def _strength(value: float | None) -> str:
    return "" if value is None else f", strength {number(value)}"


def _over_rounds(run: RunSummary) -> list[str]:
    x, spreads = numbers(run), _spreads(run)
    if sum(s.mean is not None for s in spreads) < 2:
        return []
    series = {words: [getattr(s, part) for s in spreads] for part, words in PARTS.items()}
    charts = [curves("The common model on the clients' data, by round", x, series)]
    points = [None if s.std is None else s.std * 100 for s in spreads]
    if finite(points):
        charts.append(
            curves("Standard deviation over clients, points, by round", x, {"standard deviation": points}, "number")
        )
    return charts


def _weights(run: RunSummary, last: FairnessFigures | None) -> str:
    """Factors by client where they are known, else how many clients have which."""
    if last is not None and last.histogram:
        caption = "Clients by their factor, from the smallest step to the largest, last round"
        steps = [f"step {i + 1}" for i in range(len(last.histogram))]
        return figure(caption, "bars", steps, {"clients": last.histogram}, "count")
    told = [(r.round, f.weights) for r in run.rounds if (f := r.heterogeneity.fairness) is not None and f.weights]
    if not told:
        return ""
    shown = told[-MAX_COLUMNS:]
    names = sorted({name for _, weights in shown for name in weights})
    newest = shown[-1][1]
    names = sorted(names, key=lambda name: (-newest.get(name, 0.0), name))[:MAX_ROWS]
    rows = {name: [weights.get(name) for _, weights in shown] for name in names}
    caption = "Factor of each client by round, the largest first; 1 is that of the usual loss"
    return figure(caption, "cells", [str(at) for at, _ in shown], rows, across="round")
