"""The trimmed mean (Yin, Chen, Ramchandran, Bartlett: Byzantine-Robust Distributed Learning, ICML 2018).

n rows, of which at most f are hostile: Definition 2 with beta = f / n. Of every coordinate the f largest and the f
smallest values are dropped, and the mean of the n - 2f others is taken.

Examples are not counted: a number that a client claims has no say. With f = 0 nothing is dropped, and it is the plain
mean, in which every row counts the same; the rules that choose rows leave nobody out then and keep the weights.
"""

from __future__ import annotations

from functools import partial

from roughfed.params import Flat
from roughfed.server.defence import tiles
from roughfed.server.defence.gram import enough
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.verdict import Coordinatewise, Tile, Verdict
from roughfed.server.defence.view import View


def min_rows(f: int) -> int:
    """Fewest rows of which f are fewer than half, 2f + 1: at least one value of each coordinate remains."""
    return 2 * f + 1


def judge(view: View, situation: Situation) -> Verdict:
    """Trim every coordinate; nobody is left out as a whole.

    Args:
        view: updates or means of groups.
        situation: f.

    Raises:
        TooFewClients: fewer than 2f + 1 rows; the round is void.
    """
    f = enough(view, situation, min_rows)
    return Verdict(combine=Coordinatewise(view.names, partial(of, f)))


def of(f: int, tile: Tile) -> Flat:
    """The trimmed mean of each coordinate: float32 [n, width] -> float32 [width]."""
    return tiles.trimmed_mean(tiles.ordered(tile), f)
