"""Multi-Krum (Blanchard, El Mhamdi, Guerraoui, Stainer: Machine Learning with Adversaries, NeurIPS 2017, section 4).

n rows, of which at most f are hostile; m = n - f rows are kept.

Every row is scored by its squared distances to the n - f - 2 rows nearest to it, itself not counted; those with the
lowest scores are kept. The distances come from the Gram matrix, so full updates and sketches are judged alike. The
paper asks for 2f + 2 < n.

Differs: the paper leaves m open; here exactly f rows are left out. Equal scores are decided by the order of the rows,
which is by name. With f = 0 nobody is left out, however few the rows: nobody is suspected. Some implementations count
n - f - 1 neighbours; this one counts as the paper does.
"""

from __future__ import annotations

import numpy as np

from roughfed.server.defence.gram import enough, krum_scores
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.verdict import Verdict
from roughfed.server.defence.view import View

REASON = "multi-krum"


def min_rows(f: int) -> int:
    """Fewest rows that Multi-Krum can judge, 2f + 3; 1 when nobody is suspected."""
    return 2 * f + 3 if f else 1


def judge(view: View, situation: Situation) -> Verdict:
    """Leave f rows out, with the reason "multi-krum".

    Args:
        view: rows of any kind.
        situation: f.

    Raises:
        TooFewClients: fewer than 2f + 3 rows. The round is void: neither averaged as if nobody were hostile, nor judged
            with a smaller f than was asked for.
    """
    f = enough(view, situation, min_rows)
    if not f:
        return Verdict()
    scores = krum_scores(view.gram(), f)
    order = np.argsort(scores, kind="stable")  # equal scores stay in the order of the names
    return Verdict(
        {view.names[at]: REASON for at in sorted(order[len(view) - f :].tolist())},
        dict(zip(view.names, scores.tolist(), strict=True)),
    )
