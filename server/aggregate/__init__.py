"""Step 11: weights and updates become one delta [D]. A rule is one file and one row.

A row gives the weight of each update from what its statement says; the sum itself (`mean.py`) is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from roughfed.server.aggregate.weights import examples, uniform
from roughfed.types import UpdateStatement

WEIGHTINGS: dict[str, Callable[[Sequence[UpdateStatement]], list[float]]] = {
    "examples": examples,
    "uniform": uniform,
}
