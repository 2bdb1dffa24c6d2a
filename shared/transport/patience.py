"""How long to wait before the next try: exponential with full jitter, for ever.

Full jitter (Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015): a wait is uniform between zero
and the ceiling, so that clients which lost the same server do not come back in step.
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
    """Seconds to wait before each next try, without end."""
    ceiling = first_s
    while True:
        yield float(rng.uniform(0.0, ceiling))
        ceiling = min(ceiling_s, 2 * ceiling)
