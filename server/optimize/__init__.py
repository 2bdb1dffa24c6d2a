"""Step 12: (params, delta) -> params'. A server optimizer is one file and one row.

Rules work on slices, so that no model has to be resident.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from roughfed.server.optimize.sgd import sgd

Flat = NDArray[np.float32]

RULES: dict[str, Callable[[Flat, Flat, float], Flat]] = {"sgd": sgd}
