"""What the methods that evaluate coalitions have in common: sums over rounds, cosines, twins, and who drives a play.

n rows, U utilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from roughfed.server.defence.view import Gram
from roughfed.server.extensions.contribution.method import Case, Coalition, Found, Play, State, Values
from roughfed.server.extensions.contribution.scores import ScoreState

Evaluate = Callable[[Sequence[Coalition]], Sequence[Values]]


class Known:
    """Coalitions that were evaluated; those that differ by twins alone are one, and evaluated once."""

    def __init__(self, twins: Sequence[int]) -> None:
        """`twins`: as in `Case`."""
        self._classes = [[at for at, first in enumerate(twins) if first == leader] for leader in sorted(set(twins))]
        self._plain = all(len(one) == 1 for one in self._classes)
        self._found: dict[Coalition, Values] = {}

    @property
    def evaluations(self) -> int:
        """Models that were evaluated."""
        return len(self._found)

    def missing(self, wanted: Iterable[Coalition]) -> list[Coalition]:
        """What of these must be evaluated yet, each once, in order."""
        return [one for one in dict.fromkeys(map(self.canonical, wanted)) if one not in self._found]

    def put(self, coalitions: Sequence[Coalition], values: Sequence[Values]) -> None:
        """Keep what was found of coalitions that `missing` named."""
        self._found.update(zip(coalitions, values, strict=True))

    def values(self, wanted: Sequence[Coalition]) -> list[Values]:
        """What is known of these."""
        return [self._found[self.canonical(one)] for one in wanted]

    def canonical(self, coalition: Coalition) -> Coalition:
        """The same coalition with the first ones of all twins: their sum is the same to the last bit."""
        if self._plain:
            return coalition
        found = 0
        for members in self._classes:
            inside = sum(coalition >> at & 1 for at in members)
            for at in members[:inside]:
                found |= 1 << at
        return found


def played(play: Play, evaluate: Evaluate, known: Known) -> Found:
    """Drive a play to its end, at once.

    Args:
        play: of a method.
        evaluate: gives the utilities of coalitions.
        known: what was evaluated already; more is added.
    """
    try:
        wanted = next(play)
        while True:
            missing = known.missing(wanted)
            known.put(missing, evaluate(missing) if missing else [])
            wanted = play.send(known.values(wanted))
    except StopIteration as end:
        return end.value


def shared_out(case: Case, scores: Values) -> Found:
    """Parts of a game's scores.

    Twins get the mean of theirs: the Shapley value gives them the same, a sample of it does not.

    Args:
        case: the round.
        scores: float64 [n, U].

    Returns:
        client -> "round" (of the first utility), one part for each utility, and "cosine".
    """
    mean = np.array([scores[[at for at, t in enumerate(case.twins) if t == mine]].mean(axis=0) for mine in case.twins])
    cosine = cosines_with(case.gram(), case.weights)
    return {
        name: {"round": row[0], **dict(zip(case.utilities, row, strict=True)), "cosine": cosine[at]}
        for at, (name, row) in enumerate(zip(case.names, mean.tolist(), strict=True))
    }


def cosines_with(gram: Gram, weights: Values, *, others: bool = False) -> list[float]:
    """Cosine of each row with the aggregate of all, sum_j weights[j] row_j, or of the other ones.

    Args:
        gram: float64 [n, n].
        weights: float64 [n].
        others: leave each row itself out of what it is compared with.

    Returns:
        n numbers in [-1, 1]; 0 where a row, or what it is compared with, is zero.
    """
    along, own = gram @ weights, gram.diagonal()  # row . aggregate [n]; |row|^2 [n]
    whole = np.full(len(weights), weights @ along)
    if others:
        whole = whole - 2 * weights * along + weights**2 * own
        along = along - weights * own
    scale = np.sqrt(np.maximum(own, 0) * np.maximum(whole, 0))
    found = np.divide(along, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.clip(found, -1.0, 1.0).tolist()


def summed(state: State, found: Found) -> State:
    """Fold of methods whose scores add up over the rounds (the Shapley value is linear in the game).

    Who is not in a round wins and loses nothing by it, as in FedSV (Wang et al. 2020, 2009.06192). ComFedSV (Fan et al.
    2022, 2109.09046) would guess what the absent would have brought; a ledger should not pay for guesses.
    """
    return {**state, **{name: (state.get(name, (0.0,))[0] + parts["round"],) for name, parts in found.items()}}


def totals(state: State) -> ScoreState:
    """The first number of each client."""
    return ScoreState({name: state[name][0] for name in sorted(state)})


def left_out(names: Iterable[str], utilities: Iterable[str] = ()) -> Mapping[str, Mapping[str, float]]:
    """Parts of clients that the defence left out: nothing of theirs is in the model."""
    return {name: {"round": 0.0, **dict.fromkeys(utilities, 0.0)} for name in names}
