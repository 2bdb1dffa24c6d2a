"""FLTrust (Cao, Fang, Liu, Gong, NDSS 2021, https://arxiv.org/abs/2012.13995, section IV, algorithm 2).

n rows g_i; g_0 is an update that the server makes from its own few examples (the extra row "root").

    trust_i = max(0, cos(g_i, g_0)),    aggregate = sum of trust_i |g_0| / |g_i| g_i  /  sum of trust_i

No majority is needed: it holds against more than half, as far as the server's examples are like the clients'. Who is
not trusted at all is left out; where nobody is, the round is void (the paper divides by zero there).

Differs: of sketches no weights can be given, for the sum is not yet known. There, who has less than half of an equal
share of all trust is left out as well, and the protocol alone bounds lengths. With f = 0 nobody is suspected.
"""

from __future__ import annotations

import numpy as np

from roughfed.errors import TooFewClients
from roughfed.server.defence.gram import enough
from roughfed.server.defence.rule import ROOT, Situation
from roughfed.server.defence.verdict import Coefficients, Verdict
from roughfed.server.defence.view import View

REASON, SHARE = "fltrust", 0.5


def min_rows(f: int) -> int:
    """Fewest rows: one that is honest."""
    return f + 1


def judge(view: View, situation: Situation) -> Verdict:
    """Leave out who is not trusted; of whole rows, coefficients of the others. The scores are 1 - cosine.

    Raises:
        TooFewClients: f rows or fewer, or nobody is trusted.
        LocalProtocolError: there is no row "root".
    """
    if not enough(view, situation, min_rows):
        return Verdict()
    along, root_sq_norm = view.against(ROOT)
    norm, root_norm = np.sqrt(view.gram().diagonal()), root_sq_norm**0.5
    cosine = np.divide(along, norm * root_norm, out=np.zeros(len(view)), where=norm * root_norm > 0)  # [n]
    trust = np.clip(cosine, 0.0, 1.0)
    kept = trust > (SHARE * trust.mean() if view.rows == "sketches" else 0.0)
    if not kept.any():
        raise TooFewClients(needed=1, got=0)
    excluded = {name: REASON for name, keep in zip(view.names, kept, strict=True) if not keep}
    scores = dict(zip(view.names, (1 - cosine).tolist(), strict=True))
    if view.rows == "sketches":
        return Verdict(excluded, scores)
    weight = np.divide(trust * root_norm / trust.sum(), norm, out=np.zeros(len(view)), where=kept)
    return Verdict(excluded, scores, Coefficients(dict(zip(view.names, weight.tolist(), strict=True))))
