"""Leave-one-out: what the round's model loses without a client (Cook 1977, "influence"; Shapley's last marginal alone).

n + 1 evaluations. Blind to redundancy: of two clients with the same data neither is missed. The scores do not add up
to what the round won.
"""

from __future__ import annotations

import numpy as np

from roughfed.server.extensions.contribution.game import shared_out
from roughfed.server.extensions.contribution.method import Case, Play


def leave_one_out(case: Case) -> Play:
    """score_i = U(all) - U(all without i)."""
    everybody = case.everybody
    values = yield [everybody, *(everybody & ~(1 << at) for at in range(len(case.names)))]
    return shared_out(case, np.array([values[0] - without for without in values[1:]]))
