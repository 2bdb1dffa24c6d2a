"""A row of the table of defences: what a rule is, what it must be shown, and how many rows it needs."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from roughfed.server.defence.verdict import NOTHING, State, Verdict
from roughfed.server.defence.view import Rows, View

ROOT, PREVIOUS = "*root", "*previous"
"""Names of the extra rows of a view: an update of the server's own examples, and the last global step. No client can
have such a name."""

Gives = Literal["choice", "weights", "coordinates"]


@dataclass(frozen=True, slots=True)
class Situation:
    """What a rule knows beside the rows.

    Attributes:
        f: attackers to tolerate among the rows, worked out from those that were admitted.
        round: number of the round, from 1.
        seed: of anything random in the rule; the same for the same round, so that a restart decides alike.
        state: what the rule said in its last verdict; empty in the first round.
        vouched: clients that the operator vouched for: the default spares them, and they take no place among its f
            (`roughfed.server.defence.vouched`); empty for every other rule.
    """

    f: int
    round: int = 1
    seed: int = 0
    state: State = field(default_factory=lambda: NOTHING)
    vouched: Set[str] = frozenset()

    def rng(self) -> np.random.Generator:
        """A generator of the round's own."""
        return np.random.default_rng([self.seed, self.round])


@dataclass(frozen=True, slots=True)
class Rule:
    """One defence.

    Attributes:
        about: in one line, with the paper.
        sees: the kinds of rows that it can judge; "groups" are means of groups, of which no client is known alone.
        min_rows: f -> fewest rows that it can judge with f attackers among them.
        judge: (view, situation) -> Verdict; raises TooFewClients below `min_rows`. Changes nothing it is given.
        gives: what kind of verdict: a choice of rows, weights (`Coefficients`) or coordinates (`Coordinatewise`).
            Of sketches every rule gives a choice.
        wants: extra rows that it uses where they are there.
        needs: extra rows without which it cannot work.
        remembers: whether it has state, by client: then clients must be known by name.
        translates: whether a common part of all rows (the extra ones too) comes out in the aggregate and changes no
            verdict, as with distances; not so with norms and angles, which are taken from zero.
    """

    about: str
    sees: tuple[Rows, ...]
    min_rows: Callable[[int], int]
    judge: Callable[[View, Situation], Verdict]
    gives: Gives = "choice"
    wants: frozenset[str] = field(default_factory=frozenset[str])
    needs: frozenset[str] = field(default_factory=frozenset[str])
    remembers: bool = False
    translates: bool = True
