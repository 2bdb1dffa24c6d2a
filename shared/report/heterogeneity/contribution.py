"""Contribution: what each client was worth, how sure that is, who rides free, and what it gets for it."""

from __future__ import annotations

from roughfed.report.chart import figure
from roughfed.report.heterogeneity.parts import ContributionFigures
from roughfed.report.layout import MAX_CLIENTS, MAX_COLUMNS, MAX_ROWS, folded, lead, note, pair
from roughfed.report.scale import drawable, finite, number
from roughfed.report.summary import RoundSummary, RunSummary
from roughfed.report.tables import table
from roughfed.report.words import free_riding

UTILITY = "Worth is what the server's validation set shows: what is not in the set is worth nothing. "
PROVES = {
    "leave-one-out": UTILITY + "Leaving one out is blind to twins: each of two alike clients gets nothing.",
    "gtg-shapley": UTILITY + "An estimate of Shapley values: coalitions are sampled.",
    "shapley": UTILITY + "Shapley values over every coalition of a round.",
    "cgsv": "Worth is how far an update points where all point together: a client with rare classes scores low, and "
    "that alone is no reason to pay it less.",
    "group-regression": "Only sums of groups are known: single scores are estimates from many random groups, with "
    "intervals; one that holds 0 says nothing.",
}
COLLUDERS = "Clients that collude raise one another's scores: no single score is proof against them."


def was_scored(run: RunSummary) -> bool:
    """Whether anybody was scored, or taken for a free rider; that nobody was is no news."""
    return any(c.scores or c.free_riders or c.skipped for _, c in _told(run))


def contribution(run: RunSummary) -> str:
    """The content of the section."""
    told = _told(run)
    last = _scored(told)[-1][1]
    listed = f"{_riders(told, run)}{_parts(last)}{_skipped(told)}"
    blocks = [_totals(last, run), _by_round(told, run), _levels(last), f"<div>{listed}</div>" if listed else ""]
    words = f"{PROVES.get(last.method, '')} {COLLUDERS}".strip()
    return lead(_lead(told)) + pair(*blocks) + note(words)


def _told(run: RunSummary) -> list[tuple[RoundSummary, ContributionFigures]]:
    return [(r, found) for r in run.rounds if (found := r.heterogeneity.contribution) is not None]


def _scored(told: list[tuple[RoundSummary, ContributionFigures]]) -> list[tuple[RoundSummary, ContributionFigures]]:
    """The rounds that have scores: they come after the rest, and of some never; all where none has."""
    return [(r, c) for r, c in told if c.scores] or told


def _lead(told: list[tuple[RoundSummary, ContributionFigures]]) -> str:
    last = _scored(told)[-1][1]
    spent = sum(c.evaluations for _, c in told)
    cost = f", {number(spent)} evaluations of coalitions in {len(told)} rounds" if spent else ""
    riders = len({client for _, c in told for client in c.free_riders})
    flagged = "Nobody was taken for a free rider"
    if riders:
        flagged = f"{riders} client{'s were' if riders > 1 else ' was'} taken for a free rider"
    scored = f"Scores by {last.method}{cost}" if last.method else "Nobody is scored"
    return f"{scored}. {flagged}."


def _total(parts: dict[str, float]) -> float | None:
    return parts.get("total", parts.get("round"))


def _ranked(last: ContributionFigures) -> list[str]:
    return sorted(last.scores, key=lambda name: (-(_total(last.scores[name]) or 0.0), name))[:MAX_CLIENTS]


def _totals(last: ContributionFigures, run: RunSummary) -> str:
    """Scores so far with their intervals, the highest first."""
    names = _ranked(last)
    scores = [_total(last.scores[name]) for name in names]
    if not finite(scores):
        return ""
    intervals = [last.intervals.get(name, (None, None)) for name in names]
    low, high = ([end if drawable(end) else None for end in ends] for ends in zip(*intervals, strict=True))
    sure = ", with intervals" if last.intervals else ""
    caption = f"Score so far, the highest first{sure}"
    return figure(caption, "bars", [_named(n, run) for n in names], {"score": scores}, low=low, high=high)


def _by_round(told: list[tuple[RoundSummary, ContributionFigures]], run: RunSummary) -> str:
    """The round's own scores, shaded by the size of each; what is below zero is written so."""
    shown = told[-MAX_COLUMNS:]
    if len(shown) < 2:
        return ""
    ranked, flagged = _ranked(_scored(told)[-1][1]), {client for _, c in shown for client in c.free_riders}
    chosen = set(sorted(ranked, key=lambda n: n not in flagged)[:MAX_ROWS])
    names = [n for n in ranked if n in chosen]
    cells = {n: [c.scores.get(n, {}).get("round") for _, c in shown] for n in names}
    high = max((abs(v) for row in cells.values() for v in finite(row)), default=0.0)
    if not high:
        return ""
    rows = {_named(n, run): row for n, row in cells.items()}
    marks = [[y, x] for y, n in enumerate(names) for x, (_, c) in enumerate(shown) if n in c.free_riders]
    look = {"top": high, "marks": marks, "why": "taken for a free rider", "across": "round"}
    caption = "Score in each round; below 0 is not shaded. ◥ taken for a free rider"
    return figure(caption, "cells", [str(r.round) for r, _ in shown], rows, "number", **look)


def _parts(last: ContributionFigures) -> str:
    """What a method says beside its score: its own parts."""
    extra = [p for p in dict.fromkeys(p for s in last.scores.values() for p in s) if p not in ("round", "total")]
    if not extra:
        return ""
    rows = [
        (name, *("–" if (v := last.scores[name].get(p)) is None else _short(v) for p in ("total", *extra)))
        for name in _ranked(last)
    ]
    head = ("client", "score", *(p.replace("_", " ") for p in extra))
    return folded("What the scores are made of", table(head, rows, numeric=tuple(range(1, len(head)))), len(rows))


def _riders(told: list[tuple[RoundSummary, ContributionFigures]], run: RunSummary) -> str:
    rounds: dict[tuple[str, str], list[int]] = {}
    for r, c in told:
        for client, kind in c.free_riders.items():
            rounds.setdefault((client, _why(c, client, kind)), []).append(r.round)
    if not rounds:
        return ""
    rows = [(_named(c, run), why, str(len(at)), str(at[0])) for (c, why), at in sorted(rounds.items())]
    return table(("client", "taken for a free rider", "rounds", "first"), rows, numeric=(2, 3))


def _why(told: ContributionFigures, client: str, kind: str) -> str:
    """What speaks for a free rider, and whose update it sent where that is known."""
    whose = f": that of {told.copies[client]}" if kind == "copy" and client in told.copies else ""
    return free_riding(kind) + whose


def _skipped(told: list[tuple[RoundSummary, ContributionFigures]]) -> str:
    """Rounds without scores, and why."""
    rows = [(str(r.round), c.skipped) for r, c in told if c.skipped]
    return folded("Rounds that were not scored", table(("round", "why"), rows, numeric=(0,)), len(rows)) if rows else ""


def _levels(last: ContributionFigures) -> str:
    if not last.levels:
        return ""
    names = sorted(last.levels, key=lambda name: (-last.levels[name], name))[:MAX_CLIENTS]
    caption = "Quality of the model that is exported to each; rounds start from the full one"
    return figure(caption, "bars", names, {"quality": [last.levels[name] for name in names]}, "percent")


def _named(name: str, run: RunSummary) -> str:
    """Hostile ones have a star, as elsewhere; known in demos and trials only."""
    return f"{name}\u00a0★" if name in run.hostile else name


def _short(value: float) -> str:
    return number(float(f"{value:.2g}"))
