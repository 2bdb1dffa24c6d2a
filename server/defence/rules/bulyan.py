"""Bulyan (El Mhamdi, Guerraoui, Rouault: The Hidden Vulnerability of Distributed Learning, ICML 2018, section 4).

n rows, of which at most f are hostile; theta = n - 2f of them are picked, and beta = theta - 2f values of a coordinate.

Krum picks theta rows one after another, each time among those that are left; of the picked rows, every coordinate
becomes the mean of the beta values nearest to its median. The paper asks for n >= 4f + 3. All picks use one Gram
matrix.

Differs: with 2f + 1 rows left, the last pick has f - 1 neighbours to go by; where f = 1, it takes the nearest one.
Equal scores are decided by the order of the rows, which is by name, and of two values equally near to the median the
smaller one counts. With f = 0 all rows and values count, the same each.
"""

from __future__ import annotations

import numpy as np

from roughfed.server.defence.gram import enough, squared_distances
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.tiles import mean_near_middle, ordered
from roughfed.server.defence.verdict import Coordinatewise, Verdict
from roughfed.server.defence.view import Gram, View


def min_rows(f: int) -> int:
    """Fewest rows that Bulyan can judge, 4f + 3; 1 when nobody is suspected."""
    return 4 * f + 3 if f else 1


def judge(view: View, situation: Situation) -> Verdict:
    """Leave the 2f rows out that are not picked, with the reason "bulyan"; a row's score is when it was picked.

    Raises:
        TooFewClients: fewer than 4f + 3 rows; the round is void.
    """
    f = enough(view, situation, min_rows)
    picked = [view.names[at] for at in picks(view.gram(), f)] if f else view.names
    scores = dict.fromkeys(view.names, float(len(picked))) | {name: float(at) for at, name in enumerate(picked)}
    beta = len(picked) - 2 * f
    combine = Coordinatewise(tuple(sorted(picked)), lambda tile: mean_near_middle(ordered(tile), beta))
    return Verdict({name: "bulyan" for name in view.names if name not in picked}, scores if f else {}, combine)


def picks(gram: Gram, f: int) -> list[int]:
    """The n - 2f rows that Krum picks one after another, f >= 1; `gram` is not changed."""
    sq_dist = squared_distances(gram)
    np.fill_diagonal(sq_dist, np.inf)  # a row is no neighbour of itself
    left, picked = list(range(len(gram))), list[int]()
    while len(picked) < len(gram) - 2 * f:
        nearest = np.sort(sq_dist[np.ix_(left, left)], axis=1)[:, : max(1, len(left) - f - 2)]
        picked.append(left.pop(int(nearest.sum(axis=1).argmin())))
    return picked
