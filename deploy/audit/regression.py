"""Regression over rounds: what group sums say about a value that is the same in every round.

n clients, R rounds. Every group's sum is one equation in n unknowns; groups that are drawn anew give new equations, and
so do clients that are away: the sums with and without somebody differ by what he gave.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from roughfed.rng import generator
from roughfed.secagg.groups import form_groups, smallest_sum

Rows = NDArray[np.float64]

REGROUP_EVERY = 10
AWAY = 0.05
"""Chance that a client misses a round."""

KNOWN = 1e-6
"""A client's value follows from the sums when nothing but rounding is left open of it."""


@dataclass(frozen=True)
class Curve:
    """An error over the rounds, as a share of that of guessing.

    Attributes:
        name: of the way in which groups are drawn and values given.
        error: by round; 1.0 is guessing.
        solved_after: the first round after which every client's value follows; None: not within these rounds.
    """

    name: str
    error: list[float] = field(default_factory=list[float])
    solved_after: int | None = None


Schedule = Callable[[int], list[tuple[str, ...]]]
"""Round, from 1 on -> the groups as they sum: who gave a value in each."""


def names_of(clients: int) -> list[str]:
    """Names of n clients."""
    return [f"client-{i:04d}" for i in range(clients)]


def drawn(names: Sequence[str], *, every: int, seed: int, away: float = 0.0) -> Schedule:
    """Groups drawn anew every so many rounds, as the server does it, with clients that miss a round now and then.

    Args:
        names: all clients.
        every: rounds for which groups stay as they are.
        seed: of the beacons, and of who is away.
        away: chance that a client misses a round; a group whose sum would be too small is void.
    """

    def of_round(number: int) -> list[tuple[str, ...]]:
        epoch = (number - 1) // every
        groups = form_groups(names, hashlib.sha256(f"{seed} {epoch}".encode()).digest())
        if not away:
            return groups
        draws = generator(seed, "away", number).random(len(names))
        here = {name for name, draw in zip(names, draws, strict=True) if draw >= away}
        sums = [(tuple(name for name in group if name in here), smallest_sum(len(group))) for group in groups]
        return [group for group, fewest in sums if len(group) >= fewest]

    return of_round


def once(schedule: Schedule) -> Schedule:
    """The rule for static values: each client gives its value once a run, and only where its whole group still can."""
    given: set[str] = set()

    def of_round(number: int) -> list[tuple[str, ...]]:
        fresh = [group for group in schedule(number) if given.isdisjoint(group)]
        for group in fresh:
            given.update(group)
        return fresh

    return of_round


def static_schedules(clients: int, seed: int) -> dict[str, Schedule]:
    """Ways to ask for a static value, by name; the last is what roughfed does."""
    names = names_of(clients)
    return {
        "redrawn every round": drawn(names, every=1, seed=seed),
        f"redrawn every {REGROUP_EVERY}": drawn(names, every=REGROUP_EVERY, seed=seed),
        f"every {REGROUP_EVERY}, {AWAY:.0%} away": drawn(names, every=REGROUP_EVERY, seed=seed, away=AWAY),
        "once a run": once(drawn(names, every=REGROUP_EVERY, seed=seed, away=AWAY)),
    }


def equations(groups: Sequence[tuple[str, ...]], names: Sequence[str]) -> Rows:
    """Who is in which sum: float64 [groups, n] of 0 and 1."""
    index = {name: i for i, name in enumerate(names)}
    rows = np.zeros((len(groups), len(names)))
    for row, group in zip(rows, groups, strict=True):
        row[[index[name] for name in group]] = 1.0
    return rows


def static_curve(name: str, schedule: Schedule, values: Rows, rounds: int) -> Curve:
    """How well a static value follows from exact sums.

    The guess is what any single sum gives away: the mean of the first sum that a client is in. It is compared over the
    clients that are in a sum already.

    Args:
        name: of the schedule.
        schedule: the groups of each round.
        values: of the clients, float64 [n, V].
        rounds: R.
    """
    names = names_of(len(values))
    matrix, guess = np.zeros((0, len(names))), np.full_like(values, np.nan)
    curve: list[float] = []
    solved_after: int | None = None
    for number in range(1, rounds + 1):
        rows = equations(schedule(number), names)
        for row in rows.astype(bool):
            unseen = row & np.isnan(guess[:, 0])
            guess[unseen] = values[row].mean(axis=0)
        matrix = np.concatenate([matrix, rows])
        found, follows = solve(matrix, matrix @ values)
        seen = ~np.isnan(guess[:, 0])
        curve.append(_ratio(found[seen], guess[seen], values[seen]))
        if solved_after is None and follows.all():
            solved_after = number
    return Curve(name, curve, solved_after)


def solve(matrix: Rows, sums: Rows) -> tuple[Rows, NDArray[np.bool_]]:
    """Least squares, and where the sums leave values open the ones nearest to the mean of all.

    Args:
        matrix: who is in which sum, [sums, n].
        sums: [sums, V].

    Returns:
        values [n, V], and whether each client's follow, bool [n]: e_i lies in the space of the rows.
    """
    if not matrix.any():
        count: int = matrix.shape[1]
        return np.zeros((count, sums.shape[1])), np.zeros(count, dtype=bool)
    mean = sums.sum(axis=0) / matrix.sum()  # [V]
    _, scales, basis = np.linalg.svd(matrix, full_matrices=False)
    basis = basis[scales > 1e-9 * scales[0]]
    projection = basis.T @ basis  # [n, n], on the space of the rows
    deviations = np.linalg.pinv(matrix) @ (sums - matrix.sum(axis=1, keepdims=True) * mean)
    return mean + deviations, np.abs(projection.diagonal() - 1) < KNOWN


def _ratio(found: Rows, guess: Rows, values: Rows) -> float:
    """Root mean square error as a share of that of the guess; 1.0 where there is nothing to tell."""
    guessed = float(np.sqrt(np.mean(np.square(guess - values)))) if len(values) else 0.0
    return float(np.sqrt(np.mean(np.square(found - values)))) / guessed if guessed else 1.0
