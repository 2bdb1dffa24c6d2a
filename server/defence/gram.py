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


def krum_scores(gram: Gram, f: int) -> Values:
    """The sum of every row's n - f - 2 smallest squared distances to other rows (Blanchard et al., section 4).

    Args:
        gram: inner products, float64 [n, n], n >= f + 3; not changed.
        f: attackers to tolerate.

    Returns:
        float64 [n], in units of the Gram matrix.
    """
    sq_dist = squared_distances(gram)
    np.fill_diagonal(sq_dist, np.inf)  # a row is no neighbour of itself; a twin at distance 0 is
    return np.sort(sq_dist, axis=1)[:, : len(gram) - f - 2].sum(axis=1)


def mixing(gram: Gram, f: int) -> Values:
    """Which rows each row is averaged with, itself and those nearest to it: n - f in all (Allouah et al., NNM).

    Args:
        gram: inner products, float64 [n, n], n > f; not changed.
        f: attackers to tolerate.

    Returns:
        float64 [n, n], every row adding up to 1: mixed rows are this times the rows, and their Gram matrix is W G W^T.
    """
    n = len(gram)
    sq_dist = squared_distances(gram)
    np.fill_diagonal(sq_dist, -1.0)  # itself first, whoever its twins are
    nearest = np.argsort(sq_dist, axis=1, kind="stable")[:, : n - f]  # equal distances: in the order of the names
    weights = np.zeros((n, n))
    np.put_along_axis(weights, nearest, 1 / (n - f), axis=1)
    return weights


STEPS, SMOOTH = 1000, 1e-6


def geometric_median(gram: Gram) -> Values:
    """Weights of the point with the least sum of distances to the rows: smoothed Weiszfeld (Pillutla et al., RFA).

    |row_i - v|^2 = sum_j w_j d_ij^2 - 1/2 sum_jk w_j w_k d_jk^2 for v = sum_j w_j row_j whose weights add up to 1, so
    only the distances d count: no common part of the rows costs precision.

    Args:
        gram: inner products, float64 [n, n]; not changed.

    Returns:
        float64 [n], positive, adding up to 1; where rows lie within 1e-6 of the median distance, about their share.
    """
    n = len(gram)
    sq_dist = squared_distances(gram)
    apart = sq_dist[sq_dist > 0]
    weights = np.full(n, 1 / max(1, n))
    if not apart.size:
        return weights
    floor = SMOOTH * float(np.sqrt(np.median(apart)))
    for _ in range(STEPS):
        along = sq_dist @ weights
        distance = np.sqrt(np.maximum(along - weights @ along / 2, 0))  # [n]
        pull = 1 / np.maximum(distance, floor)
        before, weights = weights, pull / pull.sum()
        if np.abs(weights - before).sum() < 1e-14:
            break
    return weights


def middle(values: Values) -> tuple[float, float]:
    """Median of float64 [n], n >= 1, and the median absolute deviation times 1.4826: the sigma of a bell curve.

    Fewer than half of the values, whatever they are, move neither beyond the others. The second is 0 where more than
    half of the values are the same.
    """
    median = float(np.median(values))
    return median, 1.4826 * float(np.median(np.abs(values - median)))
