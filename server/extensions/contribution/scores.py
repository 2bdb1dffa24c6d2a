"""What a round says of each client's worth, and what all rounds say together: the figures that the ledger keeps.

A round's figures are *parts* by client. Everything that is said over several rounds (`ScoreState`) is folded from the
parts of the rounds, one after another, and from nothing else: whoever has the rows of the ledger can work out every
total again (`roughfed.server.extensions.contribution.replay`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Parts = Mapping[str, float]
"""Figures of one client in one round by name. "round" is always there: what the method gives it for the round."""


@dataclass(frozen=True, slots=True)
class ScoreState:
    """What the rounds so far say of the clients.

    Attributes:
        totals: client -> its score over all judged rounds, of everybody who was in one, also of those who are away now.
            What it is depends on the method: a sum of the rounds' scores (Shapley and leave-one-out: it adds up to what
            all rounds won), a moving mean (cgsv), a regression coefficient (group-regression: empty until the rounds
            suffice to tell clients apart).
        intervals: client -> (low, high) at 95 %, where the method can say how sure it is.
    """

    totals: Mapping[str, float] = field(default_factory=dict[str, float])
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one round.

    Attributes:
        method: row of the table that they are of.
        evaluations: models that were evaluated for them; 0 where no data were needed.
        round: client -> its parts, of those whose update was judged: who counts, and, with a "round" of 0, who was left
            out by the defence. Who was away, or in a group that gave no sum, is not in it: nothing was won or lost.
        totals: as in `ScoreState`, after this round.
        intervals: likewise.
        skipped: why the round was not judged; "" where it was. `round`, `totals` and `intervals` are empty then: an
            earlier round may still be being scored.
        needed_rounds: judged rounds that it takes yet, at least, until clients can be told apart; 0 where they can.
    """

    method: str
    evaluations: int
    round: Mapping[str, Parts]
    totals: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    skipped: str = ""
    needed_rounds: int = 0

    def summary(self) -> dict[str, Any]:
        """As the round's journaled summary has it under "contribution"; "total" is missing where nothing is known."""
        scores: dict[str, dict[str, float]] = {}
        for name in sorted({*self.round, *self.totals}):
            total = {"total": self.totals[name]} if name in self.totals else {}
            scores[name] = {**self.round.get(name, {}), **total}
        return {
            "method": self.method,
            "evaluations": self.evaluations,
            "scores": scores,
            "intervals": {name: list(ends) for name, ends in sorted(self.intervals.items())},
            **({"skipped": self.skipped} if self.skipped else {}),
            **({"needed_rounds": self.needed_rounds} if self.needed_rounds else {}),
        }
