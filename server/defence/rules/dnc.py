"""DnC, divide and conquer (Shejwalkar, Houmansadr: Manipulating the Byzantine, NDSS 2021, section VI, algorithm 2).

n rows, of which at most f < n / 2 are hostile. Rows are centred at their mean; those that lie farthest along the
direction in which the centred rows spread most (the top right singular vector) are left out, f of them.

    score_i = <x_i - mean, v>^2 = lambda u_i^2,    lambda, u: the top eigenpair of the centred Gram matrix

Differs: the paper draws some coordinates several times over and keeps who is good every time, because the direction is
dear to find among D coordinates. In Gram space all D of them cost no more, so there is one draw, of all of them, and
nothing depends on luck; a sketch is a random subset by itself. As in the paper's experiments its factor c is 1. Equal
scores are decided by the order of the rows. With f = 0 nobody is suspected.
"""

from __future__ import annotations

import numpy as np

from roughfed.server.defence.gram import Values, enough
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.verdict import Verdict
from roughfed.server.defence.view import Gram, View

REASON = "dnc"


def min_rows(f: int) -> int:
    """Fewest rows: the honest ones must be more than half."""
    return 2 * f + 1


def judge(view: View, situation: Situation) -> Verdict:
    """Leave f rows out, with the reason "dnc".

    Raises:
        TooFewClients: fewer than 2f + 1 rows.
    """
    if not (f := enough(view, situation, min_rows)):
        return Verdict()
    found = outlying(view.gram())
    order = np.argsort(found, kind="stable")
    return Verdict(
        {view.names[at]: REASON for at in sorted(order[len(view) - f :].tolist())},
        dict(zip(view.names, found.tolist(), strict=True)),
    )


def outlying(gram: Gram) -> Values:
    """Squared lengths of the centred rows along the direction of their largest spread, float64 [n]."""
    mean = gram.mean(axis=0)
    centred = gram - mean[:, None] - mean[None, :] + mean.mean()
    spread, along = np.linalg.eigh(centred)
    return max(float(spread[-1]), 0.0) * along[:, -1] ** 2
