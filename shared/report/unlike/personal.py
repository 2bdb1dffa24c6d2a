"""Personal models: how good the common model, a client's own and one trained alone are on each client's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roughfed.report.dots import dot_rows
from roughfed.report.heat import heat_map
from roughfed.report.layout import MAX_CLIENTS, captioned, lead, note, pair
from roughfed.report.lines import line_chart
from roughfed.report.plots import SHARE, share_axis
from roughfed.report.scale import finite, number, percent
from roughfed.report.summary import RoundSummary, RunSummary, Together
from roughfed.report.tables import UNKNOWN, table
from roughfed.report.unlike.parts import MODELS, Spread

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
    blocks = [f"<div>{_table(last)}</div>", _by_client(run), *_over_rounds(run)]
    return lead(_lead(last)) + pair(*(block for block in blocks if block)) + note(_proves(run))


def _models(r: RoundSummary) -> dict[str, Spread]:
    return r.unlike.spread.models if r.unlike.spread is not None else {}


def _lead(last: RoundSummary) -> str:
    worse = last.unlike.spread.worse_than_alone if last.unlike.spread is not None else None
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
        (WORDS[name], str(s.clients), *(_share(v) for v in (s.worst10, s.mean, s.best10)), _points(s.std))
        for name, s in _models(last).items()
    ]
    head = ("model", "clients", "worst tenth", "mean", "best tenth", "std")
    return table(head, rows, numeric=(1, 2, 3, 4, 5))


def _by_client(run: RunSummary) -> str:
    """By client where the server knows; else the histograms."""
    for r in reversed(run.rounds):
        known: dict[str, Mapping[str, float]] = {m: found for m, f in BY_CLIENT.items() if (found := getattr(r, f))}
        if set(known) - {"global"}:
            return captioned(f"By client, round {r.round}, the least accurate first", _dots(known))
    last = next((r for r in reversed(run.rounds) if r.together is not None and r.together.personal_histogram), None)
    if last is None or last.together is None:
        return ""
    return captioned(f"Clients by accuracy, round {last.round}", _histograms(last.together))


def _dots(known: Mapping[str, Mapping[str, float]]) -> str:
    names = {name for by_client in known.values() for name in by_client}
    rows = {name: {WORDS[m]: found.get(name) for m, found in known.items()} for name in names}
    shown = sorted(rows, key=lambda name: (min(finite(rows[name].values()), default=0.0), name))[:MAX_CLIENTS]
    series = [WORDS[m] for m in known]
    chosen = {name: rows[name] for name in shown}
    axis = share_axis([finite(row.values()) for row in chosen.values()])
    return dot_rows("Accuracy of the models by client", chosen, series=series, axis=axis)


def _histograms(together: Together) -> str:
    rows = {WORDS[m]: list(map(float, getattr(together, f))) for m, f in HISTOGRAMS.items() if getattr(together, f)}
    bins = max(len(counts) for counts in rows.values())
    padded: dict[str, Sequence[float | None]] = {
        name: [*row, *[None] * (bins - len(row))] for name, row in rows.items()
    }
    high = max(max(row) for row in rows.values())
    columns = [f"{i * 100 // bins}" for i in range(bins)]
    title = "Clients by accuracy, from this per cent on"
    return heat_map(title, padded, columns=columns, high=high or 1.0, form=number, faint=False)


def _over_rounds(run: RunSummary) -> list[str]:
    """Means, the worst tenth, and the share of those worse off than alone."""
    x = [r.round for r in run.rounds]
    if sum(bool(_models(r)) for r in run.rounds) < 2:
        return []
    charts: list[str] = []
    for part, words in (("mean", "Mean over clients"), ("worst10", "Mean of the worst tenth of the clients")):
        series = {WORDS[m]: [getattr(_models(r).get(m), part, None) for r in run.rounds] for m in MODELS}
        known = {name: values for name, values in series.items() if finite(values)}
        chart = line_chart(f"{words} by round", known, x=x, axis=share_axis(known.values()))
        charts.append(captioned(f"{words}, by round", chart))
    worse = [r.unlike.spread.worse_than_alone if r.unlike.spread is not None else None for r in run.rounds]
    if finite(worse):
        chart = line_chart("Share worse off than alone by round", {"worse off than alone": worse}, x=x, axis=SHARE)
        charts.append(captioned("Share of the clients that would be better off alone, by round", chart))
    return charts


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else percent(value)


def _points(value: float | None) -> str:
    return UNKNOWN if value is None else number(float(f"{value * 100:.3g}"))
