"""Krum (Blanchard, El Mhamdi, Guerraoui, Stainer: Machine Learning with Adversaries, NeurIPS 2017, section 4).

n rows, of which at most f are hostile.

One row alone becomes the aggregate: the one with the least sum of squared distances to its n - f - 2 nearest rows. The
paper asks for 2f + 2 < n.

Differs: of equal scores the first name counts. With f = 0 nobody is left out, however few the rows: nobody is
suspected. Sketches it does not judge, although it could: where only one client counts, the sum of its group would be
its update.
"""

from __future__ import annotations

from roughfed.server.defence.gram import enough, krum_scores
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.verdict import Verdict
from roughfed.server.defence.view import View

REASON = "krum"


def min_rows(f: int) -> int:
    """Fewest rows that Krum can judge, 2f + 3; 1 when nobody is suspected."""
    return 2 * f + 3 if f else 1


def judge(view: View, situation: Situation) -> Verdict:
    """Leave out all rows but one, with the reason "krum".

    Args:
        view: updates or means of groups.
        situation: f.

    Raises:
        TooFewClients: fewer than 2f + 3 rows; the round is void.
    """
    f = enough(view, situation, min_rows)
    if not f:
        return Verdict()
    scores = krum_scores(view.gram(), f)
    kept = view.names[int(scores.argmin())]
    return Verdict(
        {name: REASON for name in view.names if name != kept},
        dict(zip(view.names, scores.tolist(), strict=True)),
    )
