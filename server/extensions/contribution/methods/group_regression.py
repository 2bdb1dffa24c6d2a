"""Scores of single clients out of sums of groups: groups are dealt anew, and over the rounds their worth is regressed.

Only a group's sum is known, so every member of a group gets its utility in a round: the cosine of the group's mean with
the aggregate, or what the model wins by that mean on the server's own data. As the groups change,

    utility of group g in round t = level of round t + mean over its members i of b_i + noise

is a linear regression of the b_i (ordinary least squares with an effect for each round; the b_i add up to 0). A total
is the mean level plus b_i, an interval the t interval of b_i. This is a model of the world and no proof: what two
clients are worth together only is not in it, and a colluder can lift or sink whom it shares groups with.

n clients, R rows: one for each group and round, of the last WINDOW rounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roughfed.server.extensions.contribution.game import cosines_with
from roughfed.server.extensions.contribution.intervals import t_95
from roughfed.server.extensions.contribution.method import Case, Found, Play, State, Values
from roughfed.server.extensions.contribution.scores import ScoreState

WINDOW = 500
"""Rounds that are remembered: clients come, go and learn."""

ROUNDS = "*rounds"
"""Where the state counts; no client can have this name."""

NEGLIGIBLE = 1e-9
"""Eigenvalues below this share of the largest are directions that no regrouping has told apart yet."""


def group_regression(case: Case) -> Play:
    """The utilities of a round's groups, given to each member."""
    cosine = cosines_with(case.gram(), case.weights)
    rows = [{"round": one, "cosine": one} for one in cosine]
    if case.utilities:
        nobody, *alone = yield [0, *(1 << at for at in range(len(case.names)))]
        for row, value in zip(rows, alone, strict=True):
            won = dict(zip(case.utilities, (value - nobody).tolist(), strict=True))
            row.update(won, round=won[case.utilities[0]])
    else:
        yield []
    return {
        client: {**row, "group": float(number)}
        for number, (name, row) in enumerate(zip(case.names, rows, strict=True))
        for client in case.members[name]
    }


def remembered(state: State, found: Found) -> State:
    """The state with a round in it: of each client (round, group, utility), one after another, oldest first."""
    now = state.get(ROUNDS, (0.0,))[0] + 1
    kept: dict[str, tuple[float, ...]] = {}
    for name in sorted((state.keys() | found.keys()) - {ROUNDS}):
        old = state.get(name, ())
        rows = [old[at : at + 3] for at in range(0, len(old), 3) if old[at] > now - WINDOW]
        if name in found:
            rows.append((now, found[name]["group"], found[name]["round"]))
        if rows:
            kept[name] = tuple(number for row in rows for number in row)
    return {**kept, ROUNDS: (now,)}


@dataclass(frozen=True, slots=True)
class Design:
    """The regression, its effects of rounds taken out.

    Attributes:
        names: of the n clients.
        x: shares of the clients in the groups, less their means over the groups of the round, float64 [R, n].
        y: utilities, likewise, float64 [R].
        level: mean utility.
        rounds: rounds that have rows.
        last: groups of the newest round.
    """

    names: tuple[str, ...]
    x: NDArray[np.float64]
    y: Values
    level: float
    rounds: int
    last: int

    @property
    def spectrum(self) -> tuple[Values, NDArray[np.float64], int]:
        """Eigenvalues [n], eigenvectors [n, n] of x^T x, and its rank."""
        values, vectors = np.linalg.eigh(self.x.T @ self.x)
        return values, vectors, int((values > NEGLIGIBLE * max(values[-1], NEGLIGIBLE)).sum())


def design(state: State) -> Design:
    """The rows of a state."""
    names = tuple(name for name in sorted(state) if name != ROUNDS)
    members: dict[tuple[float, float], list[int]] = {}
    utility: dict[tuple[float, float], float] = {}
    for at, name in enumerate(names):
        numbers = state[name]
        for start in range(0, len(numbers), 3):
            row = (numbers[start], numbers[start + 1])
            members.setdefault(row, []).append(at)
            utility[row] = numbers[start + 2]
    rows = sorted(members)
    x, y = np.zeros((len(rows), len(names))), np.array([utility[row] for row in rows])
    for at, row in enumerate(rows):
        x[at, members[row]] = 1 / len(members[row])
    level = float(y.mean()) if rows else 0.0
    rounds = np.array([row[0] for row in rows])
    for number in np.unique(rounds):
        here = rounds == number
        x[here] -= x[here].mean(axis=0)
        y[here] -= y[here].mean()
    last = int((rounds == rounds[-1]).sum()) if rows else 0
    return Design(names, x, y, level, len(np.unique(rounds)), last)


def regressed(state: State) -> ScoreState:
    """Totals once the groups have changed enough to tell every client apart, and intervals once there are rows left."""
    d = design(state)
    n = len(d.names)
    if not n:
        return ScoreState()
    values, vectors, rank = d.spectrum
    if rank < n - 1:
        return ScoreState()
    used = vectors[:, n - rank :]  # [n, rank]; eigenvalues rise
    inverse = (used / values[n - rank :]) @ used.T
    effect = inverse @ (d.x.T @ d.y)  # adds up to 0: the mean of a round's effects cannot be told from its level
    totals = dict(zip(d.names, (d.level + effect).tolist(), strict=True))
    free = len(d.y) - d.rounds - rank
    if free < 1:
        return ScoreState(totals)
    error = float(((d.y - d.x @ effect) ** 2).sum()) / free
    half = t_95(free) * np.sqrt(np.maximum(inverse.diagonal() * error, 0))
    ends = {name: (total - h, total + h) for (name, total), h in zip(totals.items(), half.tolist(), strict=True)}
    return ScoreState(totals, ends)


def rounds_to_go(state: State) -> int:
    """Rounds with other groups that are needed yet, if each tells as much as it can."""
    d = design(state)
    if not d.names:
        return 0
    missing = len(d.names) - 1 - d.spectrum[2]
    return math.ceil(missing / max(1, d.last - 1)) if missing > 0 else 0
