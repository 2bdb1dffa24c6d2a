"""What the defence found in a run: scores by client and round, weights, and who was left out how often and why.

Names of hostile clients are known in demos and trials only; there they come first and are marked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from roughfed.report.heat import Look, shaded
from roughfed.report.layout import MAX_COLUMNS, MAX_ROWS, captioned, pair
from roughfed.report.scale import drawable, finite, number, percent
from roughfed.report.summary import RoundSummary, RunSummary
from roughfed.report.svg import safe
from roughfed.report.tables import table
from roughfed.report.words import BLAMELESS, reason


def was_judged(run: RunSummary) -> bool:
    """Whether a defence was asked in any round, or somebody was left out."""
    return any(r.defence is not None and r.defence.rule != "none" for r in run.rounds) or bool(exclusions(run))


def exclusions(run: RunSummary) -> dict[str, list[int]]:
    """Client -> rounds in which its update was left out for a reason that is its own."""
    found: dict[str, list[int]] = {}
    for r in run.rounds:
        for client, why in r.excluded:
            if why not in BLAMELESS:
                found.setdefault(client, []).append(r.round)
    return dict(sorted(found.items()))


def judged(run: RunSummary) -> str:
    """The content of the section."""
    blocks = [_scores(run), _weights(run)]
    charts = [block for block in blocks if block]
    return f'<p class="lead">{safe(_lead(run))}</p>{pair(*charts, f"<div>{_left_out(run)}</div>")}'


def _lead(run: RunSummary) -> str:
    rules = list(dict.fromkeys(r.defence.rule for r in run.rounds if r.defence is not None))
    last = next((r.defence for r in reversed(run.rounds) if r.defence is not None), None)
    if last is None or rules == ["none"]:
        return (
            "No defence was asked: whoever is left out broke a rule of the protocol, or was not to be taken seriously."
        )
    parts = [f"{', '.join(rules)} judged {last.judged} updates a round, to hold against {last.f} hostile ones."]
    if last.judged and run.server_sees == "sketches":
        parts.append("It saw sketches of them; the updates stayed masked.")
    return " ".join(parts)


def _scores(run: RunSummary) -> str:
    """The figures that the rule went by, in parts of the round's highest: every round has a scale of its own."""
    by_round = [(r, r.defence.scores if r.defence else {}) for r in run.rounds]
    chart = _by_client(run, "Scores by client and round", by_round, _left_out_in(run))
    words = "Scores by round, shaded by the round's highest: larger is more suspicious. Marked: left out"
    return captioned(f"{words}{_whose(run)}", chart) if chart else ""


def _weights(run: RunSummary) -> str:
    by_round = [(r, r.defence.weights if r.defence else {}) for r in run.rounds]
    chart = _by_client(run, "Weights by client and round", by_round, set())
    return captioned(f"Weights that the rule gave, shaded by the round's largest{_whose(run)}", chart) if chart else ""


def _whose(run: RunSummary) -> str:
    return ". Hostile ones come first, with a star" if run.hostile else ""


def _by_client(
    run: RunSummary,
    title: str,
    by_round: Sequence[tuple[RoundSummary, Mapping[str, float]]],
    marks: set[tuple[str, int]],
) -> str:
    """A heat map of a figure; nothing where there is none."""
    shown = [(r, values) for r, values in by_round if values][-MAX_COLUMNS:]
    if not shown:
        return ""
    highest = {r.round: max(finite(values.values()), default=0.0) for r, values in shown}
    rows: dict[str, list[float | None]] = {}
    said: dict[tuple[str, int], str] = {}
    for name in _names(run, [values for _, values in shown]):
        starred = _starred(name, run)
        cells = [(values.get(name), highest[r.round]) for r, values in shown]
        rows[starred] = [v / most if drawable(v) and most > 0 else None for v, most in cells]
        said |= {(starred, at): number(float(f"{v:.2g}")) for at, (v, _) in enumerate(cells) if drawable(v)}
    columns = [str(r.round) for r, _ in shown]
    places = {r.round: at for at, (r, _) in enumerate(shown)}
    marked = {(_starred(name, run), places[at]) for name, at in marks if at in places}
    return shaded(title, rows, Look(columns, 1.0, percent, said=said, marks=marked, why="left out"))


def _names(run: RunSummary, by_round: Sequence[Mapping[str, float]]) -> list[str]:
    """Hostile ones first; of too many those with the highest figures."""
    most: dict[str, float] = {}
    for values in by_round:
        high = max(finite(values.values()), default=0.0)
        for name, value in values.items():
            share = value / high if drawable(value) and high > 0 else 0.0
            most[name] = max(most.get(name, 0.0), share)
    chosen = sorted(most, key=lambda name: (name not in run.hostile, -most[name], name))[:MAX_ROWS]
    return sorted(chosen, key=lambda name: (name not in run.hostile, name))


def _starred(name: str, run: RunSummary) -> str:
    return f"{name}\u00a0★" if name in run.hostile else name


def _left_out_in(run: RunSummary) -> set[tuple[str, int]]:
    return {(client, number) for client, rounds in exclusions(run).items() for number in rounds}


def _left_out(run: RunSummary) -> str:
    """Who was left out, in which rounds and why; a sentence where nobody was."""
    why: dict[str, Counter[str]] = {}
    for r in run.rounds:
        for client, word in r.excluded:
            if word not in BLAMELESS:
                why.setdefault(client, Counter())[word] += 1
    if not why:
        return '<p class="note">No update was left out.</p>'
    rounds = exclusions(run)
    rows = [
        (_starred(client, run), str(len(rounds[client])), spans(rounds[client]), _reasons(why[client]))
        for client in sorted(why, key=lambda client: (client not in run.hostile, -len(rounds[client]), client))
    ]
    by_reason = Counter(word for counts in why.values() for word in counts.elements())
    chips = "".join(f"<li>{safe(reason(word))} <b>{n:,}</b></li>" for word, n in by_reason.most_common(12))
    listed = table(("client", "rounds", "which", "why"), rows, numeric=(1,))
    return f'<ul class="chips">{chips}</ul>{listed}'


def _reasons(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return reason(next(iter(counts)))
    return "; ".join(f"{reason(word)} ({n})" for word, n in counts.most_common())


def spans(numbers: Sequence[int]) -> str:
    """Increasing numbers as people write them: 1 to 3, 7, 9 to 12."""
    found: list[list[int]] = []
    for each in numbers:
        if found and each == found[-1][-1] + 1:
            found[-1].append(each)
        else:
            found.append([each])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in found)
