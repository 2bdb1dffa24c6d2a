"""The median (Yin, Chen, Ramchandran, Bartlett: Byzantine-Robust Distributed Learning, ICML 2018).

n rows, of which at most f are hostile: Definition 1, one coordinate after another.

With an even number of rows the two middle values are averaged; some implementations take the lower one. f changes
nothing in the result: it only says how many rows there must be. So with f = 0 it is still the median, where other rules
fall back to the mean. Examples are not counted: a number that a client claims has no say. Where clients differ much,
the median of honest rows alone lies far from their mean.
"""

from __future__ import annotations

from roughfed.params import Flat
from roughfed.server.defence.gram import enough
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.tiles import middle, ordered
from roughfed.server.defence.verdict import Coordinatewise, Tile, Verdict
from roughfed.server.defence.view import View


def min_rows(f: int) -> int:
    """Fewest rows of which f are fewer than half, 2f + 1."""
    return 2 * f + 1


def judge(view: View, situation: Situation) -> Verdict:
    """Take the median of every coordinate; nobody is left out as a whole.

    Args:
        view: updates or means of groups.
        situation: f.

    Raises:
        TooFewClients: fewer than 2f + 1 rows; the round is void.
    """
    enough(view, situation, min_rows)
    return Verdict(combine=Coordinatewise(view.names, of))


def of(tile: Tile) -> Flat:
    """The median of each coordinate: float32 [n, width] -> float32 [width]."""
    return middle(ordered(tile))
