"""What the defence found in a run: scores by client and round, weights, and who was left out how often and why.

Names of hostile clients are known in demos and trials only; there they come first and are marked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from roughfed.report.chart import figure
from roughfed.report.layout import MAX_COLUMNS, MAX_ROWS, lead, note, pair, safe
from roughfed.report.scale import finite
from roughfed.report.summary import RunSummary
from roughfed.report.tables import table
from roughfed.report.words import BLAMELESS, reason

LIMITED = ("centered-clipping", "default", "fltrust", "foolsgold")
"""Rules whose scores are in units of their limit: from 1 on, an update is suspect."""


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


@dataclass(frozen=True)
class Caught:
    """Who was left out of a run with known attackers.

    Attributes:
        hostile: names of the attackers.
        excluded: client -> rounds in which it was left out for a reason that is its own.
        false_exclusions: client-rounds of honest clients among them.
        hits: client-rounds of attackers among them.
    """

    hostile: list[str]
    excluded: dict[str, list[int]]

    @property
    def false_exclusions(self) -> int:
        """Client-rounds of honest clients that were left out."""
        return sum(len(rounds) for client, rounds in self.excluded.items() if client not in self.hostile)

    @property
    def hits(self) -> int:
        """Client-rounds of attackers that were left out."""
        return sum(len(rounds) for client, rounds in self.excluded.items() if client in self.hostile)


def caught(run: RunSummary) -> Caught:
    """Who was left out."""
    return Caught(run.hostile, exclusions(run))


def judged(run: RunSummary) -> str:
    """The content of the section."""
    return lead(_lead(run)) + pair(_scores(run), _weights(run), f"<div>{_left_out(run)}</div>")


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
    """The figures that the rule went by, on one scale for all rounds: a calm round stays pale."""
    rules = {r.defence.rule for r in run.rounds if r.defence is not None and r.defence.scores}
    limited = rules <= set(LIMITED)
    scale = "the full shade is the limit, 1.0" if limited else "shaded by the highest of all rounds"
    caption = f"Scores by round, {scale}; larger is more suspicious. ◥ left out{_whose(run)}"
    return _by_client(run, caption, "scores", 1.0 if limited else None)


def _weights(run: RunSummary) -> str:
    return _by_client(run, f"Weights that the rule gave{_whose(run)}", "weights", None)


def _whose(run: RunSummary) -> str:
    return ". Hostile ones come first, with a star" if run.hostile else ""


def _by_client(run: RunSummary, caption: str, field: str, top: float | None) -> str:
    """A figure by client and round, with a mark at whom was left out; nothing where there is none."""
    told = [(r.round, values) for r in run.rounds if r.defence is not None and (values := getattr(r.defence, field))]
    if not (shown := told[-MAX_COLUMNS:]):
        return ""
    names = _names(run, [values for _, values in shown])
    rows = {_starred(name, run): [values.get(name) for _, values in shown] for name in names}
    columns, out = [str(number) for number, _ in shown], exclusions(run)
    marks = [
        [y, x] for y, name in enumerate(names) for x, (number, _) in enumerate(shown) if number in out.get(name, [])
    ]
    highest = max((v for row in rows.values() for v in finite(row)), default=0.0)
    look = {"top": top or highest or 1.0, "marks": marks, "why": "left out", "across": "round"}
    return figure(caption, "cells", columns, rows, "number", **look)


def _names(run: RunSummary, by_round: Sequence[dict[str, float]]) -> list[str]:
    """Hostile ones first; of too many those with the highest figures."""
    names = {name for values in by_round for name in values}
    most = {name: max(finite(values.get(name) for values in by_round), default=0.0) for name in names}
    chosen = sorted(most, key=lambda name: (name not in run.hostile, -most[name], name))[:MAX_ROWS]
    return sorted(chosen, key=lambda name: (name not in run.hostile, name))


def _starred(name: str, run: RunSummary) -> str:
    return f"{name}\u00a0★" if name in run.hostile else name


def _left_out(run: RunSummary) -> str:
    """Who was left out, in which rounds and why; a sentence where nobody was."""
    why: dict[str, Counter[str]] = {}
    for r in run.rounds:
        for client, word in r.excluded:
            if word not in BLAMELESS:
                why.setdefault(client, Counter())[word] += 1
    if not why:
        return note("No update was left out.")
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
