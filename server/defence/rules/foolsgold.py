"""FoolsGold (Fung, Yoon, Beschastnikh, 2018, https://arxiv.org/abs/1808.04866, section 5, algorithm 1).

n clients. Who pulls the model the same way as another, over all rounds, is taken for a sybil. h_i is the sum of all
updates of client i, c_ij the cosine of h_i and h_j (c_ii = 0), and m_i the largest of row i:

    c_ij *= m_i / m_j  where m_j > m_i        (pardoning: honest ones that happen to be like a sybil)
    a_i = 1 - max_j c_ij,    a_i /= max a,    a_i = ln(a_i / (1 - a_i)) + 0.5,  cut to [0, 1]

Differs: the aggregate is divided by the sum of a, so that it stays a mean; and the sums are kept as a few numbers of
each (`roughfed.server.defence.history`), without the paper's choice of "indicative" features. With f = 0 nobody is
suspected, and what was seen is remembered. Where all are alike, nobody can be told from a sybil: the round is void.
"""

from __future__ import annotations

import numpy as np

from roughfed.errors import TooFewClients
from roughfed.server.defence.gram import Values, cosines, enough
from roughfed.server.defence.history import remembered, sums
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.verdict import Coefficients, Verdict
from roughfed.server.defence.view import View

REASON, ALIKE, TOP = "foolsgold", 1e-9, 0.99


def min_rows(f: int) -> int:
    """Fewest rows: sybils are known by one another, and somebody must be none."""
    return f + 1


def judge(view: View, situation: Situation) -> Verdict:
    """Coefficients by how unlike the others each one is; who gets 0 is left out. The scores are 1 - a.

    Raises:
        TooFewClients: f rows or fewer, or all are alike.
    """
    f, state = enough(view, situation, min_rows), remembered(view, situation)
    if not f:
        return Verdict(state=state)
    trust = trusted(sums(view, state))  # [n]
    if not trust.any():
        raise TooFewClients(needed=1, got=0)
    by_name = dict(zip(view.names, (trust / trust.sum()).tolist(), strict=True))
    excluded = {name: REASON for name, weight in by_name.items() if not weight}
    return Verdict(excluded, dict(zip(view.names, (1 - trust).tolist(), strict=True)), Coefficients(by_name), state)


def trusted(history: Values) -> Values:
    """The a of every client, float64 [n] in [0, 1], from its sum of updates [n, dim]; all 0 where all are alike."""
    alike = cosines(history @ history.T)
    np.fill_diagonal(alike, 0.0)
    most = alike.max(axis=1)
    pardon = np.divide(most[:, None], most[None, :], out=np.ones_like(alike), where=most[None, :] > most[:, None])
    unlike = np.clip(1 - (alike * pardon).max(axis=1), 0.0, 1.0)
    if unlike.max() < ALIKE:
        return np.zeros(len(history))
    unlike = np.minimum(unlike / unlike.max(), TOP)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(unlike / (1 - unlike)) + 0.5, 0.0, 1.0)
