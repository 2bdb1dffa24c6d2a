"""Do the rows fall in two camps? A question that no f answers: a minority of more than f cannot be left out, only told.

n rows. Colluders that are a third or more, and clients whose data are of another kind, look alike from here: most of
what the rows differ in lies along one direction, in every round the same, with the one camp at either end of it. Where
there are two classes only, or the rows of some are mostly noise, honest rows do so, too. Colluders with two goals do
not: their two directions even out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from roughfed.server.defence.evidence import DECAY, floored
from roughfed.server.defence.gram import Values
from roughfed.server.defence.verdict import State
from roughfed.server.defence.view import Gram

RATIO = 3.0
"""How many times as much as along the next direction. Of honest clients alone it was 2.9 once, and 2.3 at most else."""

LEAST = 0.02
"""Cosine, for each row and round, that counts as nothing: by chance alone, rows differ along all directions alike."""

FEWEST, ROUNDS = 8, 4
"""Rows and rounds below which nothing is said."""

DIRECTIONS = 4
"""That are remembered; what lies along the others is nearly as little as chance makes it."""

KEY = "camp/"
"""In the state, before the name of a client, whose name has no slash."""


def camps(before: State, names: Sequence[str], gram: Gram, number: int) -> tuple[NDArray[np.bool_], State]:
    """The smaller of two camps, and what is to be remembered.

    The matrix of the rows' cosines, without their mean, is added up over the rounds, older ones counting less. Its two
    largest eigenvalues say how much the rows differ along the two directions in which they differ most; the signs of
    the first eigenvector are the camps. Of the sum only the largest eigenvalues are kept, n numbers each: coordinates
    along these directions. Those of clients that are away are turned as those of the others turn.

    Args:
        before: the rule's state.
        names: of the rows.
        gram: inner products, float64 [n, n]; not changed.
        number: of the round.

    Returns:
        (who is in the smaller camp, bool [n], nobody where there are no two; a row for each name).
    """
    n, smaller = len(names), np.zeros(len(names), dtype=bool)
    blank = np.zeros(DIRECTIONS + 2)  # the last: how many rounds, and the number of the newest
    before = {key: row for key, row in before.items() if key.startswith(KEY) and len(row) == len(blank)}
    known = np.array([before.get(KEY + name, blank) for name in names]).reshape(n, len(blank))
    rounds = known[:, DIRECTIONS] + 1
    directions = np.zeros((n, DIRECTIONS))
    if n > DIRECTIONS:
        values, vectors = np.linalg.eigh(DECAY * known[:, :DIRECTIONS] @ known[:, :DIRECTIONS].T + _apart(gram))
        values, vectors = values[::-1], vectors[:, ::-1]
        directions = vectors[:, :DIRECTIONS] * np.sqrt(np.maximum(values[:DIRECTIONS], 0))
        so_far = float(np.median(rounds))
        least = LEAST * n * (1 - DECAY**so_far) / (1 - DECAY)
        if n >= FEWEST and so_far >= ROUNDS and values[0] > RATIO * max(float(values[1]), least):
            first = vectors[:, 0] > 0
            smaller = first if 2 * first.sum() < n else ~first
    rows = np.column_stack([directions, rounds, np.full(n, float(number))])
    here = {KEY + name: row for name, row in zip(names, rows, strict=True)}
    turn = _turn(known[:, :DIRECTIONS], directions)
    away = {key: np.concatenate([row[:DIRECTIONS] @ turn, row[DIRECTIONS:]]) for key, row in before.items()}
    return smaller, {**{key: row for key, row in away.items() if key not in here}, **here}


def _turn(before: Values, now: Values) -> Values:
    """The rotation that brings coordinates of the last rounds nearest to those of this one, float64 [k, k].

    The orthogonal Procrustes problem (Schoenemann, Psychometrika 1966): of the singular vectors of before' now.
    """
    left, _, right = np.linalg.svd(before.T @ now)
    return left @ right


def _apart(gram: Gram) -> Values:
    """Cosines of the rows to one another, none to itself, without what all have in common; float64 [n, n].

    Not what lies across the rows' middle alone: where nearly half collude, they may be the middle.
    """
    lengths = floored(gram)
    cosine = gram / np.outer(lengths, lengths)
    np.fill_diagonal(cosine, 0)
    rows = cosine - cosine.mean(axis=0)
    return rows - rows.mean(axis=1, keepdims=True)
