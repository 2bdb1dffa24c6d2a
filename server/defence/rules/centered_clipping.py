"""Centered clipping (Karimireddy, He, Jaggi: Learning from History, ICML 2021, https://arxiv.org/abs/2012.10333).

n rows x_i, of which at most f < n / 2 are hostile; v is the last global step (the extra row "previous"), 0 without it.

    aggregate = v + mean of (x_i - v) min(1, tau / |x_i - v|)

One step, as the paper's own experiments take. A row moves the aggregate by tau / n at most, whatever it holds.

Differs: the paper (section 4, "AggrCC") clips momenta that the workers keep, and fixes tau by hand. Here updates are
clipped, and tau is the upper median of the distances |x_i - v|: with f < n / 2, some honest row is as far as tau, some
as near, so hostile rows can put it nowhere else. With f = 0 nobody is suspected.
"""

from __future__ import annotations

import numpy as np

from roughfed.server.defence.gram import distances_to, enough
from roughfed.server.defence.rule import PREVIOUS, Situation
from roughfed.server.defence.verdict import Coefficients, Verdict
from roughfed.server.defence.view import View


def min_rows(f: int) -> int:
    """Fewest rows: the honest ones must be more than half."""
    return 2 * f + 1


def judge(view: View, situation: Situation) -> Verdict:
    """Coefficients of the rows and of "previous"; nobody is left out. The scores are distances from v, in tau.

    Raises:
        TooFewClients: fewer than 2f + 1 rows.
    """
    if not enough(view, situation, min_rows):
        return Verdict()
    gram, n = view.whole_gram(), len(view)
    centre = np.zeros(len(gram))
    if PREVIOUS in view.extras:
        centre[n + view.extras.index(PREVIOUS)] = 1.0
    distance = distances_to(gram, centre)[:n]  # [n]
    tau = float(np.sort(distance)[n // 2])
    share = np.divide(tau, distance, out=np.ones(n), where=distance > tau) / n  # [n]
    by_name = dict(zip(view.names, share.tolist(), strict=True))
    if PREVIOUS in view.extras:
        by_name[PREVIOUS] = 1.0 - float(share.sum())
    scores = distance / tau if tau else distance
    return Verdict(scores=dict(zip(view.names, scores.tolist(), strict=True)), combine=Coefficients(by_name))
