"""A bound on norms (Sun et al.: Can You Really Backdoor Federated Learning?, 2019, https://arxiv.org/abs/1911.07963).

n rows, of which at most f are hostile; c is the bound.

Every row is scaled down to norm c where it is longer: sum_i row_i min(1, c / |row_i|) / n. No attacker moves the mean
farther than c / n, whatever it sends; in its direction it is free, so this stops boosting and nothing subtler.

Differs: the paper picks c by hand; here it is the median norm, which fewer than half of the rows cannot carry beyond
the honest norms. Sketches cannot be scaled, only left out: of those above twice the median, the f longest at most.
Behind masks the protocol bounds as well: 1.5 C where sketches are seen, and the range of a code, (levels - 1) / 2 a
coordinate, where sums are; then a row is the mean of a group. With f = 0 nobody is suspected.
"""

from __future__ import annotations

import numpy as np

from roughfed.server.defence.gram import enough
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.verdict import Coefficients, Verdict
from roughfed.server.defence.view import View

REASON = "norm-bound"
BEYOND = 2.0


def min_rows(f: int) -> int:
    """Fewest rows of which f are fewer than half, 2f + 1."""
    return 2 * f + 1


def judge(view: View, situation: Situation) -> Verdict:
    """Scale long rows down, or leave sketches of long ones out with the reason "norm-bound"; scores are norms.

    Raises:
        TooFewClients: fewer than 2f + 1 rows; the round is void.
    """
    if not (f := enough(view, situation, min_rows)):
        return Verdict()
    norms = np.sqrt(view.gram().diagonal())  # [n]
    bound = float(np.median(norms))
    scores = dict(zip(view.names, norms.tolist(), strict=True))
    if view.rows == "sketches":
        longest = sorted(np.argsort(-norms, kind="stable")[:f].tolist())
        return Verdict({view.names[at]: REASON for at in longest if norms[at] > BEYOND * bound}, scores)
    shrink = np.divide(bound, norms, out=np.ones(len(view)), where=norms > bound)
    return Verdict(
        scores=scores,
        combine=Coefficients(dict(zip(view.names, (shrink / len(view)).tolist(), strict=True))),
    )
