"""Parts that make sense only in a federation."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.methods.row import Option, Part

FEDERATED: Mapping[str, Part] = {
    "fedprox": Part(
        "regularize",
        "holds the local model near the global one",
        source="Li et al., MLSys 2020",
        family="federated",
        options={"mu": Option(0.01, "weight of the squared distance, mu", low=0.0)},
    ),
}
