"""FLAME (Nguyen et al., USENIX Security 2022, https://arxiv.org/abs/2101.02281, section 4, algorithm 1).

n rows, of which at most f < n / 2 are hostile. The rows are clustered by their cosine distances; who is not in the
cluster that holds more than half of all is left out. The others are cut to the median norm of all n, and averaged.

The paper clusters by HDBSCAN with min_cluster_size = n / 2 + 1, a single cluster allowed. No two clusters can be that
large: what it finds is the smallest component of single linkage that has a majority, worked out here as such.

Differs: the paper's adaptive noise is left out (it hides what is left of a backdoor, at a cost in every round); and of
sketches the choice alone is taken, for there C bounds each update. With f = 0 nobody is suspected.
"""

from __future__ import annotations

import numpy as np

from roughfed.server.defence.gram import Values, cosines, enough
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.verdict import Coefficients, Verdict
from roughfed.server.defence.view import View

REASON = "flame"


def min_rows(f: int) -> int:
    """Fewest rows: the honest ones must be more than half."""
    return 2 * f + 1


def judge(view: View, situation: Situation) -> Verdict:
    """Leave out who is outside of the majority; the scores are the distances at which each joins one.

    Raises:
        TooFewClients: fewer than 2f + 1 rows.
    """
    if not enough(view, situation, min_rows):
        return Verdict()
    reach = joining(1.0 - cosines(view.gram()))  # [n, n]
    radius = np.sort(reach, axis=1)[:, len(view) // 2]  # at which each one is among n // 2 + 1
    inside = reach[radius.argmin()] <= radius.min()
    excluded = {name: REASON for name, keep in zip(view.names, inside, strict=True) if not keep}
    scores = dict(zip(view.names, radius.tolist(), strict=True))
    if view.rows == "sketches":
        return Verdict(excluded, scores)
    norm = np.sqrt(view.gram().diagonal())
    cut = np.divide(np.median(norm), norm, out=np.ones(len(view)), where=norm > np.median(norm)) * inside
    return Verdict(excluded, scores, Coefficients(dict(zip(view.names, (cut / inside.sum()).tolist(), strict=True))))


def joining(distance: Values) -> Values:
    """Length of the longest step on the best way from row to row: where single linkage joins them, float64 [n, n]."""
    reach = distance.copy()
    np.fill_diagonal(reach, 0.0)
    for via in range(len(reach)):
        np.minimum(reach, np.maximum(reach[:, via, None], reach[None, via, :]), out=reach)
    return reach
