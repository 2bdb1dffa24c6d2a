"""The absolute bound on norms: it comes before any rule that compares rows, and no rule is shown what it leaves out.

Under secure aggregation the group's own machine leaves out whoever claims more than 1.5 C in either half of its sketch
(`roughfed.secagg.server`, `NORM_BOUND`); this is the same bound for a view, on the norm by both halves together. Rows
over it are left out, never scaled down: a scaled update must still stick out for the rule that comes next.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from roughfed.errors import LocalProtocolError

if TYPE_CHECKING:
    from roughfed.server.defence.view import View

REASON = "norm"


def norm_bound(view: View, *, limit: float) -> dict[str, str]:
    """Who is longer than `limit`, by name, with the reason "norm".

    Args:
        view: sketches or updates.
        limit: the longest norm that is let through, in the view's unit: of C for sketches (1.5 is the protocol's), of
            the parameters for updates, where no C is agreed on and the caller must know one.

    Raises:
        LocalProtocolError: a limit that is not a positive number.
    """
    if not 0 < limit < math.inf:
        raise LocalProtocolError(f"a norm bound of {limit}")
    norms = np.sqrt(view.gram().diagonal())  # [n]
    return {name: REASON for name, norm in zip(view.names, norms.tolist(), strict=True) if norm > limit}
