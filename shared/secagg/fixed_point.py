"""Real numbers in sums of integers: fixed point with a public bound, unit and zero (`roughfed.secagg.statistics`).

x becomes round(x / unit) + zero, cut to 0 .. largest: never negative, as lanes need it. The zeros of those who gave are
taken off the sum, so their number (the statistic "trained") must be known. Sums are exact in these units; whether
a lane holds the sum of its digits is what the planner of the lanes sees to, and every digit is below L.

C classes, d features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import LocalProtocolError
from roughfed.secagg.statistics import KINDS

Numbers = NDArray[np.float64]


def bound_of(name: str) -> float:
    """The largest real number that one client may give of a statistic; the lowest is its negative."""
    kind = KINDS[name]
    return kind.zero * kind.unit


def to_fixed(name: str, numbers: NDArray[np.floating]) -> tuple[int, ...]:
    """Real numbers of one client as the values of a statistic; what is beyond the bound is cut to it.

    Raises:
        LocalProtocolError: the statistic is a count, or a number is not finite.
    """
    kind, given = KINDS[name], np.asarray(numbers, dtype=np.float64).reshape(-1)
    if not kind.unit or not np.isfinite(given).all():
        raise LocalProtocolError(f"{name} takes no such numbers: it is a count, or they are not finite")
    steps = np.rint(np.clip(given, -bound_of(name), bound_of(name)) / kind.unit)
    return tuple((steps.astype(np.int64) + kind.zero).tolist())


def from_fixed(name: str, sums: Sequence[int], givers: int) -> Numbers:
    """The sum of the real numbers behind the sum of a statistic.

    Args:
        name: of a statistic in fixed point.
        sums: of its values.
        givers: clients that gave it: the sum of "trained".

    Returns:
        float64 [len(sums)].

    Raises:
        LocalProtocolError: the statistic is a count.
    """
    kind = KINDS[name]
    if not kind.unit:
        raise LocalProtocolError(f"{name} is a count")
    return (np.array(sums, dtype=np.int64) - givers * kind.zero).astype(np.float64) * kind.unit


def fit_features(count: Numbers, sums: Numbers, outer: Numbers) -> dict[str, tuple[int, ...]]:
    """The three feature statistics of one client, scaled together so that nothing is cut.

    A client with so many examples that a sum is beyond its bound counts as if it had fewer: the means and the
    covariance that follow from the three stay what they are.

    Args:
        count: examples of each class, [C].
        sums: sum of the features of each class, [C, d].
        outer: upper triangle of the sum of z z^T over all examples, row by row, [d (d + 1) / 2].

    Returns:
        "feature-count", "feature-sum" and "feature-outer".
    """
    parts = (("feature-sum", sums, bound_of("feature-sum")), ("feature-outer", outer, bound_of("feature-outer")))
    reach = [most / found for _, part, most in parts if (found := float(np.abs(part).max(initial=0.0))) > most]
    if (largest := float(count.max(initial=0.0))) > KINDS["feature-count"].largest:
        reach.append(KINDS["feature-count"].largest / largest)
    scale = min([1.0, *reach])
    counts = np.rint(np.asarray(count, dtype=np.float64) * scale).astype(np.int64)
    values = {name: to_fixed(name, part * scale) for name, part, _ in parts}
    return {"feature-count": tuple(counts.tolist())} | values


def upper_triangle(matrix: Numbers) -> Numbers:
    """The upper triangle of a symmetric matrix, [d, d] to [d (d + 1) / 2], row by row."""
    return matrix[np.triu_indices(len(matrix))]


def symmetric(triangle: Numbers, width: int) -> Numbers:
    """The symmetric matrix of an upper triangle, [d (d + 1) / 2] to [d, d].

    Raises:
        LocalProtocolError: the triangle is of another width.
    """
    if len(triangle) != width * (width + 1) // 2:
        raise LocalProtocolError(f"{len(triangle)} numbers are no triangle of {width}")
    matrix = np.zeros((width, width))
    matrix[np.triu_indices(width)] = triangle
    return matrix + np.triu(matrix, 1).T
