"""How long to wait before the next try: exponential with full jitter, for ever.

Full jitter (Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015): a wait is uniform between zero
and the ceiling, so that clients which lost the same server do not come back in step.

Differs: the ceiling does not double, it is what was waited so far. A ceiling that doubles runs away from a client whose
first waits happened to be short: of five that lost a server for 4 s, the last was back after 10 s in the median and
after 24 s in one of a hundred cases, longer than a round waits for it. Now nobody is away twice as long as the server.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

FIRST_S = 0.5
CEILING_S = 60.0

PROGRESS_S = 30.0
"""A transfer without a byte for so long is given up, at either end."""

TURN_S = 600.0
"""A client waits so long for its turn to transfer; then it asks again, and has not lost it. A dead server is noticed by
the connection."""


def waits(rng: np.random.Generator, *, first_s: float = FIRST_S, ceiling_s: float = CEILING_S) -> Iterator[float]:
    """Seconds to wait before each next try, without end; all but the first are at most what was waited before."""
    waited = 0.0
    while True:
        wait = float(rng.uniform(0.0, min(ceiling_s, max(first_s, waited))))
        waited += wait
        yield wait
