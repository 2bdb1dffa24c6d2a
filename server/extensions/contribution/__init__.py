"""What each client's part in the model was worth: a room with one file and one row for each way to say it.

Files of methods never import one another; what two of them need is in `game.py` and `exact.py`. A row says what it must
be shown (`sees`) and whether it evaluates models on the server's own data (`data`); whatever the settings and the mode
cannot provide is refused before round 1 (`check.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from roughfed.registry import look_up
from roughfed.server.extensions.contribution.game import summed, totals
from roughfed.server.extensions.contribution.method import NOTHING, Case, Found, ScoringMethod, State
from roughfed.server.extensions.contribution.methods.cgsv import cgsv, moving_mean
from roughfed.server.extensions.contribution.methods.group_regression import (
    group_regression,
    regressed,
    remembered,
    rounds_to_go,
)
from roughfed.server.extensions.contribution.methods.gtg_shapley import gtg_shapley
from roughfed.server.extensions.contribution.methods.leave_one_out import leave_one_out
from roughfed.server.extensions.contribution.methods.shapley import shapley
from roughfed.server.extensions.contribution.scores import Parts, Scores, ScoreState

__all__ = [
    "METHODS",
    "NOTHING",
    "Case",
    "Found",
    "Parts",
    "ScoreState",
    "Scores",
    "ScoringMethod",
    "State",
    "method_of",
    "replay",
]

METHODS: Mapping[str, ScoringMethod] = MappingProxyType(
    {
        "leave-one-out": ScoringMethod(
            "what the round's model loses without a client",
            sees=("updates",),
            data="needed",
            judge=leave_one_out,
            fold=summed,
            standing=totals,
        ),
        "shapley": ScoringMethod(
            "the Shapley value, exactly: 2^n evaluations, 10 clients at most (Shapley 1953)",
            sees=("updates",),
            data="needed",
            judge=shapley,
            fold=summed,
            standing=totals,
            most=10,
        ),
        "gtg-shapley": ScoringMethod(
            "the Shapley value, by guided and truncated walks (Liu et al., 2022)",
            sees=("updates",),
            data="needed",
            judge=gtg_shapley,
            fold=summed,
            standing=totals,
            limited=True,
        ),
        "cgsv": ScoringMethod(
            "cosine of the update with the aggregate, as a moving mean (Xu et al., NeurIPS 2021)",
            sees=("updates", "sketches"),
            data="none",
            judge=cgsv,
            fold=moving_mean,
            standing=totals,
        ),
        "group-regression": ScoringMethod(
            "worth of groups regressed on who was in them, with intervals",
            sees=("groups",),
            data="wanted",
            judge=group_regression,
            fold=remembered,
            standing=regressed,
            fewest=2,
            needed_rounds=rounds_to_go,
            exact=False,
        ),
    }
)


def method_of(name: str) -> ScoringMethod:
    """The row of a name.

    Raises:
        ConfigError: there is none.
    """
    return look_up(METHODS, name, key="contribution.method")


def replay(method: str, rounds: Iterable[Mapping[str, Parts]]) -> ScoreState:
    """Everything that a method says over several rounds, out of the rounds' parts alone: what a ledger can be held to.

    Args:
        method: a row of METHODS.
        rounds: `Scores.round` of each judged round, in order; skipped ones may be left out.

    Returns:
        the same totals and intervals, to the last bit where the method is `exact`, else to about nine digits.
    """
    row, state = method_of(method), NOTHING
    for parts in rounds:
        if parts:
            state = row.fold(state, parts)
    return row.standing(state)
