"""What a rule says of a round: whom it leaves out, and, where whole rows are there, how the others become one.

n rows, D parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Tile = NDArray[np.float32]
State = Mapping[str, NDArray[np.float64]]
"""What a rule remembers from round to round: arrays by name ("score/client-1"); the server keeps it for the rule."""

NOTHING: State = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The aggregate is sum_i by_name[i] * row_i, as it stands: numbers of examples and weight classes do not enter.

    Attributes:
        by_name: of rows and of the extra rows (ROOT, PREVIOUS); who is missing counts 0.
    """

    by_name: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Coordinatewise:
    """The aggregate is worked out tile by tile: coordinates never meet one another.

    Attributes:
        rows: names whose rows make the tile, sorted.
        of: float32 [len(rows), width] -> float32 [width]; may change the tile, which is a copy.
    """

    rows: tuple[str, ...]
    of: Callable[[Tile], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule found.

    Attributes:
        excluded: name -> reason, of everybody whose update does not count.
        scores: name -> the figure that the rule went by, larger being more suspicious; for people, not for arithmetic.
        combine: how the rows become one; None for the mean of those that are not excluded, with their own weights.
        state: what the rule wants to be given in the next round.
        suspects: who is suspicious, left out or not: an operator must hear of more than f (`DefenceOutnumbered`).
    """

    excluded: Mapping[str, str] = field(default_factory=dict[str, str])
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    combine: Coefficients | Coordinatewise | None = None
    state: State = field(default_factory=lambda: NOTHING)
    suspects: Set[str] = frozenset()
