"""The geometric median (Pillutla et al.: Robust Aggregation for Federated Learning, IEEE Trans. Signal Process. 2022).

https://arxiv.org/abs/1912.13445 (RFA); n rows, of which at most f are hostile.

The aggregate is the point with the least sum of distances to the rows. Fewer than half of the rows, wherever they lie,
move it only so far. The paper's smoothed Weiszfeld steps are made on n weights in Gram space until nothing changes: the
full rows are read twice, however many steps there are.

Differs: the paper weighs rows by their numbers of examples, which are claims; here every row counts the same. The paper
stops after a few steps because each costs a secure sum. With f = 0 nobody is suspected and it is the mean.
"""

from __future__ import annotations

from roughfed.server.defence.gram import distances_to, enough, geometric_median
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.verdict import Coefficients, Verdict
from roughfed.server.defence.view import View


def min_rows(f: int) -> int:
    """Fewest rows of which f are fewer than half, 2f + 1."""
    return 2 * f + 1


def judge(view: View, situation: Situation) -> Verdict:
    """Weigh every row; its score is its distance from the median.

    Args:
        view: updates or means of groups.
        situation: f, which only says whether there are rows enough.

    Raises:
        TooFewClients: fewer than 2f + 1 rows; the round is void.
    """
    if not enough(view, situation, min_rows):
        return Verdict()
    weights = geometric_median(view.gram())
    scores = distances_to(view.gram(), weights)
    return Verdict(
        scores=dict(zip(view.names, scores.tolist(), strict=True)),
        combine=Coefficients(dict(zip(view.names, weights.tolist(), strict=True))),
    )
