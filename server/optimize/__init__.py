"""Step 12: (params, delta) -> params'. A server optimizer is one file and one row.

Rules work on slices, so that no model has to be resident.
"""

from __future__ import annotations

from collections.abc import Callable

from roughfed.params import Flat
from roughfed.server.optimize.sgd import sgd

RULES: dict[str, Callable[[Flat, Flat, float], Flat]] = {"sgd": sgd}
