"""Step 11, after the verdicts: clients that the model serves badly count for more. A rule is one file and one row.

The weight that a rule gives is relative to a client at the typical loss, is cut to a cap, and multiplies the client's
own weight; a defence never sees it. In the clear the server works it out (`weights.py`); behind masks each client names
one of four public classes (`curve.py`), so that no loss is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from roughfed.server.fairness import none, q_fedavg, term
from roughfed.server.fairness.rule import FairnessRule

__all__ = ["RULES", "FairnessRule"]

RULES: Mapping[str, FairnessRule] = MappingProxyType(
    {
        "none": FairnessRule("everybody counts as its weight says", none.tilt),
        "q-fedavg": FairnessRule(
            "weighs by a power of the loss (Li et al., ICLR 2020)", q_fedavg.tilt, "q", curbs=True
        ),
        "term": FairnessRule("weighs by an exponential of the loss (Li et al., ICLR 2021)", term.tilt, "t"),
    }
)
