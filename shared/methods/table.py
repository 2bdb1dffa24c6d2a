"""The table of trainer parts, and the compositions that have a name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from roughfed.methods.continual import CONTINUAL
from roughfed.methods.federated import FEDERATED
from roughfed.methods.long_tail import LONG_TAIL
from roughfed.methods.noisy import NOISY
from roughfed.methods.personal import PERSONAL
from roughfed.methods.plain import PLAIN
from roughfed.methods.row import Part

PARTS: Mapping[str, Part] = MappingProxyType({**PLAIN, **LONG_TAIL, **NOISY, **CONTINUAL, **FEDERATED, **PERSONAL})

PRESETS: Mapping[str, str] = MappingProxyType(
    {
        "long-tail": "balanced-softmax",
        "noisy": "forward-correction(q=0.5)+small-loss(ramp=0.8, relabel=0.5)+weight-average",
        "continual": "der++",
        "rough": "balanced-softmax+class-balanced-memory+der++",
    }
)
"""name -> method: what to write when one does not want to choose."""
