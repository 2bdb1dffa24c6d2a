"""Kernels over a Gram matrix that several rules need: distances, cosines, scales that few rows cannot move.

n rows. Everything is float64 and in the order of the rows, which is by name: no result depends on who came first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import TooFewClients
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.view import Gram, View

Values = NDArray[np.float64]


def enough(view: View, situation: Situation, min_rows: Callable[[int], int]) -> int:
    """f, if the rows suffice to judge that many attackers.

    Raises:
        TooFewClients: they do not. The round is void: neither averaged as if nobody were hostile, nor judged with a
            smaller f than was asked for.
    """
    if len(view) < (needed := min_rows(situation.f)):
        raise TooFewClients(needed=needed, got=len(view))
    return situation.f


def squared_distances(gram: Gram) -> Values:
    """|row_i - row_j|^2 of all pairs, float64 [n, n], zero on the diagonal and never below."""
    sq_norm = gram.diagonal()
    found = np.maximum(sq_norm[:, None] + sq_norm[None, :] - 2 * gram, 0)  # rounding may fall below 0 for twins
    np.fill_diagonal(found, 0.0)
    return found


def cosines(gram: Gram) -> Values:
    """Cosines of all pairs, float64 [n, n] in [-1, 1]; 0 where a row is zero."""
    norm = np.sqrt(gram.diagonal())
    scale = np.outer(norm, norm)
    found = np.divide(gram, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.clip(found, -1.0, 1.0)


def distances_to(gram: Gram, weights: Values) -> Values:
    """|row_i - sum_j weights[j] row_j| of every row, float64 [n]; `weights` [n] need not add up to 1."""
    along = gram @ weights
    return np.sqrt(np.maximum(gram.diagonal() - 2 * along + weights @ along, 0))
