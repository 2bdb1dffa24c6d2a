"""Contribution: what each client was worth, how sure that is, who rides free, and what it gets for it."""

from __future__ import annotations

from roughfed.report.bars import bars
from roughfed.report.dots import dot_rows
from roughfed.report.heat import Look, shaded
from roughfed.report.layout import MAX_CLIENTS, MAX_COLUMNS, MAX_ROWS, captioned, folded, lead, note, pair
from roughfed.report.plots import SHARE
from roughfed.report.scale import alike, drawable, finite, number, ticks
from roughfed.report.summary import RoundSummary, RunSummary
from roughfed.report.svg import Axis
from roughfed.report.tables import table
from roughfed.report.unlike.parts import Contribution
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
    return lead(_lead(told)) + pair(*(block for block in blocks if block)) + note(words)


def _told(run: RunSummary) -> list[tuple[RoundSummary, Contribution]]:
    return [(r, found) for r in run.rounds if (found := r.unlike.contribution) is not None]


def _scored(told: list[tuple[RoundSummary, Contribution]]) -> list[tuple[RoundSummary, Contribution]]:
    """The rounds that have scores: they come after the rest, and of some never; all where none has."""
    return [(r, c) for r, c in told if c.scores] or told


def _lead(told: list[tuple[RoundSummary, Contribution]]) -> str:
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


def _ranked(last: Contribution) -> list[str]:
    return sorted(last.scores, key=lambda name: (-(_total(last.scores[name]) or 0.0), name))[:MAX_CLIENTS]


def _totals(last: Contribution, run: RunSummary) -> str:
    """Scores so far with their intervals, the highest first."""
    rows = {_named(name, run): {"score": _total(last.scores[name])} for name in _ranked(last)}
    intervals = {_named(name, run): last.intervals[name] for name in _ranked(last) if name in last.intervals}
    ends = [v for row in rows.values() for v in finite(row.values())]
    ends += [v for pair_ in intervals.values() for v in pair_ if drawable(v)]
    if not ends:
        return ""
    axis = Axis(ticks(min(0.0, *ends), max(0.0, *ends)), number)
    chart = dot_rows("Score of each client", rows, series=["score"], axis=axis, intervals=intervals)
    sure = ", with intervals" if intervals else ""
    return captioned(f"Score so far, the highest first{sure}", chart)


def _by_round(told: list[tuple[RoundSummary, Contribution]], run: RunSummary) -> str:
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
    form = alike(high)
    said = {(_named(n, run), i): form(v) for n, row in cells.items() for i, v in enumerate(row) if drawable(v)}
    rows = {_named(n, run): [None if v is None else max(v, 0.0) for v in row] for n, row in cells.items()}
    flags = {(_named(n, run), i) for i, (_, c) in enumerate(shown) for n in names if n in c.free_riders}
    look = Look([str(r.round) for r, _ in shown], high, form, said=said, marks=flags, why="taken for a free rider")
    chart = shaded("Scores by client and round", rows, look)
    return captioned("Score in each round; below 0 is not shaded. Marked: taken for a free rider", chart)


def _parts(last: Contribution) -> str:
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


def _riders(told: list[tuple[RoundSummary, Contribution]], run: RunSummary) -> str:
    rounds: dict[tuple[str, str], list[int]] = {}
    for r, c in told:
        for client, kind in c.free_riders.items():
            rounds.setdefault((client, _why(c, client, kind)), []).append(r.round)
    if not rounds:
        return ""
    rows = [(_named(c, run), why, str(len(at)), str(at[0])) for (c, why), at in sorted(rounds.items())]
    return table(("client", "taken for a free rider", "rounds", "first"), rows, numeric=(2, 3))


def _why(told: Contribution, client: str, kind: str) -> str:
    """What speaks for a free rider, and whose update it sent where that is known."""
    whose = f": that of {told.copies[client]}" if kind == "copy" and client in told.copies else ""
    return free_riding(kind) + whose


def _skipped(told: list[tuple[RoundSummary, Contribution]]) -> str:
    """Rounds without scores, and why."""
    rows = [(str(r.round), c.skipped) for r, c in told if c.skipped]
    return folded("Rounds that were not scored", table(("round", "why"), rows, numeric=(0,)), len(rows)) if rows else ""


def _levels(last: Contribution) -> str:
    if not last.levels:
        return ""
    ordered = dict(sorted(last.levels.items(), key=lambda item: (-item[1], item[0]))[:MAX_CLIENTS])
    chart = bars("Quality of the model that each client gets", ordered, axis=SHARE)
    return captioned("Quality of the model that is exported to each; rounds start from the full one", chart)


def _named(name: str, run: RunSummary) -> str:
    """Hostile ones have a star, as elsewhere; known in demos and trials only."""
    return f"{name}\u00a0★" if name in run.hostile else name


def _short(value: float) -> str:
    return number(float(f"{value:.2g}"))
