"""Arrays from outside as the parts of a Dataset: what is taken, and what is refused with a reason.

N is the number of examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import ConfigError

TOKEN_TYPES = ("int32", "int64")


def as_inputs(x: NDArray[Any]) -> NDArray[Any]:
    """Inputs: finite floats become float32; int32 and int64 are token ids and become int64.

    Raises:
        ConfigError: another type, or a number that is not finite. Pixels as bytes are refused too: every client must
            scale alike, and nobody here knows how the others do.
    """
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is refused
            floats = x.astype(np.float32)
        if not np.isfinite(floats).all():
            raise ConfigError("x has numbers that are not finite", key="data")
        return floats
    if x.dtype.name in TOKEN_TYPES:
        return x.astype(np.int64)
    raise ConfigError(f"x is {x.dtype}", key="data", cure="write floats, scaled as at the other clients, or token ids")


def as_targets(y: NDArray[Any], num_classes: int = 0) -> NDArray[np.int64] | NDArray[np.float32]:
    """Targets: integers become int64 labels, finite floats float32 measured values.

    Args:
        y: [N].
        num_classes: C, where it is known; then labels must lie in 0..C-1.

    Raises:
        ConfigError: another type or shape, a number out of range or not finite.
    """
    if y.dtype.kind == "f" and not num_classes:
        values = y.astype(np.float32)
        if not np.isfinite(values).all():
            raise ConfigError("y has numbers that are not finite", key="data")
        return values
    if y.dtype.kind not in "iu" or y.ndim != 1:
        raise ConfigError(f"y is {y.dtype} of shape {y.shape}", key="data", cure="write labels [N] as whole numbers")
    labels = y.astype(np.int64)
    if len(labels) and (labels.min() < 0 or (num_classes and labels.max() >= num_classes)):
        span = f"{labels.min()}..{labels.max()}"
        raise ConfigError(f"labels lie in {span}", key="data", cure=f"want 0..{num_classes - 1}" if num_classes else "")
    return labels


def classes_in(y: NDArray[Any]) -> int:
    """C as far as some targets show it; 0 for measured values."""
    return int(y.max()) + 1 if y.dtype.kind in "iu" and len(y) else 0
