"""A defended run beside the same attack without a defence, and beside the same clients without an attack."""

from __future__ import annotations

from dataclasses import dataclass

from roughfed.report.judged import exclusions
from roughfed.report.layout import lead, pair
from roughfed.report.plots import curves
from roughfed.report.scale import finite, percent
from roughfed.report.summary import RunSummary, last_known
from roughfed.report.tables import UNKNOWN, table

DEFENDED, UNDEFENDED, CLEAN = "this run", "no defence", "no attack"


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


def poisoned(run: RunSummary, plain: RunSummary | None, clean: RunSummary | None) -> str:
    """The content of the section: the three runs, as far as they were played."""
    runs = {DEFENDED: run, UNDEFENDED: plain, CLEAN: clean}
    known = {name: each for name, each in runs.items() if each is not None}
    found, played = caught(run), len(run.hostile) * len(run.rounds)
    hostile = ", ".join(run.hostile)
    words = (
        f"{run.attack}: {hostile}. They were left out {found.hits} of {played} times, and honest clients "
        f"{found.false_exclusions} times. Every run begins with the same first model, with the same clients and data."
    )
    head = ("at the end", *known)
    rows = [
        (name, *(_share(last_known(getattr(r, field) for r in each.rounds)) for each in known.values()))
        for field, name in FIGURES.items()
        if any(getattr(r, field) is not None for each in known.values() for r in each.rounds)
    ]
    figures = table(head, rows, numeric=tuple(range(1, len(head))))
    return lead(words) + pair(f"<div>{figures}</div>", _courses(known))


FIGURES = {
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


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else percent(value)
