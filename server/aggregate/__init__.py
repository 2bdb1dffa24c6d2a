"""Step 11: weights and updates become one delta [D]. A rule is one file and one row.

A row gives the weight of each update from what its statement says; the sum itself (`mean.py`) is the same for all.
"""

from __future__ import annotations

from roughfed.server.aggregate.weights import Weighting, examples, uniform, weighed

__all__ = ["WEIGHTINGS", "weighed"]

WEIGHTINGS: dict[str, Weighting] = {
    "examples": examples,
    "uniform": uniform,
}
