"""A row of the table: what a way to score contributions is shown of a round, and how it says what it found.

n rows (clients, or groups of them), U utilities.

A method that needs models evaluated does not evaluate them: it is a generator that names coalitions of rows and is sent
what they are worth. Who drives it (the server by its worker, a test by arithmetic) is not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from roughfed.server.defence.view import Gram, Rows
from roughfed.server.extensions.contribution.scores import Parts, ScoreState

Coalition = int
"""A set of rows: bit i is set for row i. 0 is nobody: the model that the round began with."""

Values = NDArray[np.float64]
Found = Mapping[str, Parts]
Play = Generator[Sequence[Coalition], Sequence[Values], Found]
"""Yields coalitions, is sent their utilities [U] in the same order, and returns the parts by client."""

State = Mapping[str, tuple[float, ...]]
"""What is kept of the rounds so far: a few numbers of each client."""

Data = Literal["none", "wanted", "needed"]
NOTHING: State = MappingProxyType({})
NO_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Case:
    """One round to be judged.

    Attributes:
        names: of the rows that count in the aggregate, sorted.
        weights: float64 [n], of each in the aggregate; not negative, their sum is 1.
        gram: inner products of the rows, float64 [n, n]; worked out when it is asked for.
        utilities: names of the U utilities of a coalition, the one that the score goes by first; empty without data.
        budget: models that may be evaluated.
        seed: of anything random; the same for the same round, so that a restart scores alike.
        twins: [n], for each row the first one that is the same in every bit, itself where there is none.
        members: of each row, where rows are groups.
    """

    names: tuple[str, ...]
    weights: Values
    gram: Callable[[], Gram]
    utilities: tuple[str, ...] = ()
    budget: int = 0
    seed: int = 0
    twins: tuple[int, ...] = ()
    members: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: NO_GROUPS)

    @property
    def everybody(self) -> Coalition:
        """The coalition of all rows."""
        return (1 << len(self.names)) - 1


@dataclass(frozen=True, slots=True)
class ScoringMethod:
    """One way to score.

    Attributes:
        about: in one line, with the paper.
        sees: the kinds of rows that it can judge.
        data: whether it evaluates models on the server's own data: "needed", "wanted" where they are there, or "none".
        judge: the play of a round.
        fold: (state, parts of the next round) -> state; from these alone, so that a ledger can be replayed.
        standing: what a state says.
        most: rows of a round at most; 0 = any number.
        fewest: rows of a round at least.
        needed_rounds: (state) -> `Scores.needed_rounds`.
        limited: whether `Case.budget` binds it; others evaluate what their definition takes.
        exact: whether a standing is the same on every machine to the last bit. One that solves equations is not: linear
            algebra adds up in another order on another processor.
    """

    about: str
    sees: tuple[Rows, ...]
    data: Data
    judge: Callable[[Case], Play]
    fold: Callable[[State, Found], State]
    standing: Callable[[State], ScoreState]
    most: int = 0
    fewest: int = 1
    needed_rounds: Callable[[State], int] = field(default=lambda _: 0)
    limited: bool = False
    exact: bool = True
