"""The Shapley value from all 2^n utilities; n players, U utilities."""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial

import numpy as np

from roughfed.server.extensions.contribution.method import Values


def shapley_values(utilities: Sequence[Values]) -> Values:
    """The Shapley value of every player.

    Args:
        utilities: 2^n of them, float64 [U] each: number S is that of the coalition with the bits of S.

    Returns:
        float64 [n, U].
    """
    table = np.stack(list(utilities))  # [2^n, U]
    n = len(table).bit_length() - 1
    coalitions = np.arange(len(table))
    sizes = np.array([int(one).bit_count() for one in coalitions])
    share = np.array([factorial(size) * factorial(n - size - 1) / factorial(n) for size in range(n)])
    found = np.empty((n, table.shape[1]))
    for player in range(n):
        without = coalitions[coalitions >> player & 1 == 0]
        found[player] = share[sizes[without]] @ (table[without | 1 << player] - table[without])
    return found
