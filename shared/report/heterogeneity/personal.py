"""Personal models: how good the common model, a client's own and one trained alone are on each client's data."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.report.chart import figure
from roughfed.report.heterogeneity.parts import MODELS, Spread
from roughfed.report.layout import MAX_CLIENTS, lead, note, pair
from roughfed.report.plots import curves, numbers
from roughfed.report.scale import finite, number, percent
from roughfed.report.summary import RoundSummary, RunSummary, Together
from roughfed.report.tables import UNKNOWN, share, table

WORDS = {"global": "common", "personal": "personal", "alone": "alone"}
"""Model -> what charts call it."""
HISTOGRAMS = {"global": "histogram", "personal": "personal_histogram", "alone": "alone_histogram"}
BY_CLIENT = {"global": "client_accuracy", "personal": "client_personal", "alone": "client_alone"}


def was_personal(run: RunSummary) -> bool:
    """Whether anything but the common model was measured."""
    return any(set(_models(r)) - {"global"} for r in run.rounds)


def personal(run: RunSummary) -> str:
    """The content of the section."""
    last = next(r for r in reversed(run.rounds) if set(_models(r)) - {"global"})
    return (
        lead(_lead(last)) + pair(f"<div>{_table(last)}</div>", _by_client(run), *_over_rounds(run)) + note(_proves(run))
    )


def _models(r: RoundSummary) -> dict[str, Spread]:
    return r.heterogeneity.spread.models if r.heterogeneity.spread is not None else {}


def _lead(last: RoundSummary) -> str:
    worse = last.heterogeneity.spread.worse_than_alone if last.heterogeneity.spread is not None else None
    end = "" if worse is None else f" {percent(worse)} of the clients would be better off alone."
    return (
        "Accuracy on every client's own held-out data, of the common model, of the client's personal one and of one "
        f"that it trained alone; last told in round {last.round}.{end}"
    )


def _proves(run: RunSummary) -> str:
    words = "Clients measure themselves: the figures are what they say, and hold for those that answered."
    within = max((s.within or 0.0 for r in run.rounds for s in _models(r).values()), default=0.0)
    if within:
        step = percent(2 * within)
        words += f" Single clients are not known, only counts in steps of {step}: ± {percent(within)}."
    return words


def _table(last: RoundSummary) -> str:
    rows = [
        (WORDS[name], str(s.clients), *(share(v) for v in (s.worst10, s.mean, s.best10)), _points(s.std))
        for name, s in _models(last).items()
    ]
    head = ("model", "clients", "worst tenth", "mean", "best tenth", "std")
    return table(head, rows, numeric=(1, 2, 3, 4, 5))


def _by_client(run: RunSummary) -> str:
    """By client where the server knows; else the histograms."""
    for r in reversed(run.rounds):
        known: dict[str, Mapping[str, float]] = {m: found for m, f in BY_CLIENT.items() if (found := getattr(r, f))}
        if set(known) - {"global"}:
            return _dots(f"By client, round {r.round}, the least accurate first", known)
    last = next((r for r in reversed(run.rounds) if r.together is not None and r.together.personal_histogram), None)
    if last is None or last.together is None:
        return ""
    return _histograms(f"Clients by accuracy, from this per cent on, round {last.round}", last.together)


def _dots(caption: str, known: Mapping[str, Mapping[str, float]]) -> str:
    names = {name for by_client in known.values() for name in by_client}
    lowest = {name: min(finite(found.get(name) for found in known.values()), default=0.0) for name in names}
    shown = sorted(names, key=lambda name: (lowest[name], name))[:MAX_CLIENTS]
    series = {WORDS[m]: [found.get(name) for name in shown] for m, found in known.items()}
    return figure(caption, "dots", shown, series, "percent", share=True)


def _histograms(caption: str, together: Together) -> str:
    rows: dict[str, list[int]] = {WORDS[m]: found for m, f in HISTOGRAMS.items() if (found := getattr(together, f))}
    bins = max(len(counts) for counts in rows.values())
    padded = {name: [*row, *[None] * (bins - len(row))] for name, row in rows.items()}
    return figure(caption, "cells", [f"{i * 100 // bins}" for i in range(bins)], padded, "count", faint=False)


def _over_rounds(run: RunSummary) -> list[str]:
    """Means, the worst tenth, and the share of those worse off than alone."""
    x = numbers(run)
    if sum(bool(_models(r)) for r in run.rounds) < 2:
        return []
    charts: list[str] = []
    for part, words in (("mean", "Mean over clients"), ("worst10", "Mean of the worst tenth of the clients")):
        series = {WORDS[m]: [getattr(_models(r).get(m), part, None) for r in run.rounds] for m in MODELS}
        charts.append(curves(f"{words}, by round", x, series))
    worse = [
        r.heterogeneity.spread.worse_than_alone if r.heterogeneity.spread is not None else None for r in run.rounds
    ]
    if finite(worse):
        caption = "Share of the clients that would be better off alone, by round"
        charts.append(curves(caption, x, {"worse off than alone": worse}))
    return charts


def _points(value: float | None) -> str:
    return UNKNOWN if value is None else number(float(f"{value * 100:.3g}"))
