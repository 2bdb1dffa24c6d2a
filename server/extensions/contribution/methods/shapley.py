"""The Shapley value of a round, exactly (Shapley 1953; of a round's updates: Song, Tong and Wei, IEEE BigData 2019).

2^n evaluations: the oracle that the others are held against. n is 10 at most.
"""

from __future__ import annotations

from roughfed.server.extensions.contribution.exact import shapley_values
from roughfed.server.extensions.contribution.game import shared_out
from roughfed.server.extensions.contribution.method import Case, Play


def shapley(case: Case) -> Play:
    """The mean over all orders of what a client adds to those before it."""
    values = yield range(case.everybody + 1)
    return shared_out(case, shapley_values(values))
