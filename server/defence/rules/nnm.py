"""Nearest-neighbour mixing, NNM (Allouah et al.: Fixing by Mixing, AISTATS 2023, https://arxiv.org/abs/2302.01772).

n rows, of which at most f are hostile.

Each row becomes the mean of the n - f rows nearest to it, itself counted; of the mixed rows, the trimmed mean is
taken: each coordinate without its f largest and f smallest values. Mixing brings honest rows that differ closer to one
another, so that what is left to hide in is of the order of f / n; it is a step before a rule, and none by itself.

Differs: the paper mixes before any rule; here it is the trimmed mean, whose own bound is the best. Equal distances are
decided by the order of the rows, which is by name. With f = 0 nobody is suspected.
"""

from __future__ import annotations

import numpy as np

from roughfed.params import Flat
from roughfed.server.defence.gram import enough, mixing
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.tiles import ordered, trimmed_mean
from roughfed.server.defence.verdict import Coordinatewise, Tile, Verdict
from roughfed.server.defence.view import View


def min_rows(f: int) -> int:
    """Fewest rows of which f are fewer than half, 2f + 1."""
    return 2 * f + 1


def judge(view: View, situation: Situation) -> Verdict:
    """Mix, then trim; a row's score is how many of the other rows' means do without it.

    Args:
        view: updates or means of groups.
        situation: f.

    Raises:
        TooFewClients: fewer than 2f + 1 rows; the round is void.
    """
    if not (f := enough(view, situation, min_rows)):
        return Verdict()
    weights = mixing(view.gram(), f)  # [n, n]
    left_out = (weights == 0).sum(axis=0).tolist()  # [n]
    mixer = weights.astype(np.float32)

    def of(tile: Tile) -> Flat:
        return trimmed_mean(ordered(mixer @ tile), f)

    return Verdict(
        scores={name: float(count) for name, count in zip(view.names, left_out, strict=True)},
        combine=Coordinatewise(view.names, of),
    )
