"""FedNova: clients that make more steps do not pull the model their way (Wang et al., NeurIPS 2020, arXiv 2007.07481).

An update is as long as the client's effective steps a_i, ||a_i||_1 in the paper; a mean of such updates is the solution
of another problem, in which whoever steps more counts for more (theorem 1). So each is divided by its own a_i, and the
mean is multiplied by tau_eff (equation 7, section 4.1). Both happen at the client
(`client/trainer/training/effort.py`): it sends delta_i * tau_eff / a_i, because behind masks nobody else knows a_i.

Differs: the paper's tau_eff is the mean of this round's a_i, which is known when all have sent. Any tau_eff solves the
right problem, it is how far a step goes. Here it is the mean that clients told in an earlier round, a fact of the job;
so it does not depend on who takes part today, and no client needs to tell its steps in every round, which behind masks
would give its number of examples away. Without one (in the first round) updates are as they are: FedAvg.
"""

from __future__ import annotations

from collections.abc import Sequence

from roughfed.secagg.statistics import KINDS, STEP_BUCKETS, STEPS, step_middle

ASKED = (f"{STEPS}:{STEP_BUCKETS}", "trained:1")

CLAIM_CAP = 3
"""Steps are a client's own claim: none counts for more than this many times the median."""


def asks(number: int, rounds: int, *, known: bool) -> tuple[str, ...]:
    """What a round asks for: until the steps are known, and now and then over the run, as they may change.

    Args:
        number: of the round, from 1.
        rounds: of the run.
        known: an earlier round told the steps.

    Returns:
        statistics as "name:length".
    """
    again = KINDS[STEPS].often - 1
    due = {round(rounds * at / (again + 1)) for at in range(1, again + 1)} - {0, 1}
    return ASKED if not known or number in due else ()


def reference(counts: Sequence[int]) -> tuple[float, ...]:
    """tau_eff: the mean of the clients' effective steps, each at most 3 times the median.

    Args:
        counts: clients by the bucket of their steps, [STEP_BUCKETS]; empty where too few are behind them.

    Returns:
        one number from 1 to 2^20; () without a client. A bucket is 1/8 octave wide: a client's own steps are known to
        4.4 %, and a step of the server is by so much longer or shorter than FedAvg's where all make as many.
    """
    steps = [(step_middle(bucket), n) for bucket, n in enumerate(counts) if n > 0]
    if (total := sum(n for _, n in steps)) == 0:
        return ()
    below, median = 0, steps[-1][0]
    for middle, n in steps:
        below += n
        if 2 * below >= total:
            median = middle
            break
    return (sum(n * min(middle, CLAIM_CAP * median) for middle, n in steps) / total,)
