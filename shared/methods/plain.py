"""The tasks' own losses."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.methods.row import Part

PLAIN: Mapping[str, Part] = {
    "cross-entropy": Part("loss", "cross-entropy of the softmax", needs=frozenset({"classes"})),
    "mse": Part("loss", "squared error, for regression"),
}
