"""The f rows that lie farthest from the medoid are out: from the row that is nearest to its n - f nearest ones.

n rows. Works on whole updates, sketches and means of groups alike, since it needs their inner products alone.
"""

import numpy as np

from roughfed.server.defence import Rule, Situation, Verdict, View
from roughfed.server.defence.gram import enough, squared_distances


def min_rows(f: int) -> int:
    """More than half of the rows must be honest."""
    return 2 * f + 1


def judge(view: View, situation: Situation) -> Verdict:
    """Leave f rows out with the reason "medoid"; scores are squared distances from the medoid."""
    f = enough(view, situation, min_rows)
    sq_dist = squared_distances(view.gram())  # [n, n]
    near = np.sort(sq_dist, axis=1)[:, : len(view) - f]  # [n, n - f], itself first
    far = sq_dist[near.sum(axis=1).argmin()]  # [n]
    last = np.argsort(far, kind="stable")[len(view) - f :]
    names = sorted(view.names[at] for at in last)
    return Verdict(dict.fromkeys(names, "medoid"), dict(zip(view.names, far.tolist(), strict=True)))


MEDOID = Rule("keeps the rows nearest to the medoid", ("updates", "sketches", "groups"), min_rows, judge)
