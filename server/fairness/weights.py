"""How much each client counts by its loss, where the server knows it: the rule's weights, cut to a cap.

A loss is what a client says of the model that it was sent, on its own held-out data. Nobody can check it, so nobody
gains more by it than the cap, and no claim moves what the others get by much: the typical loss is the median.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

from roughfed.server.fairness.rule import FairnessRule


def factors(rule: FairnessRule, losses: Mapping[str, float | None], *, strength: float, cap: float) -> dict[str, float]:
    """What each client's weight is multiplied by.

    Args:
        rule: a row of RULES.
        losses: name -> mean loss under the model that was sent; None, or what is no finite number, for a client that
            told none: it counts once.
        strength: of the rule, q or t.
        cap: the largest factor, 1 being that of a client at the median of the known losses.

    Returns:
        name -> 0 to cap, in the order of `losses`.
    """
    known = {name: loss for name, loss in losses.items() if loss is not None and math.isfinite(loss)}
    if not known:
        return dict.fromkeys(losses, 1.0)
    tilted = capped(rule, list(known.values()), typical=median(known.values()), strength=strength, cap=cap)
    return {**dict.fromkeys(losses, 1.0), **dict(zip(known, tilted, strict=True))}


def capped(
    rule: FairnessRule, losses: Sequence[float], *, typical: float, strength: float, cap: float, floor: float = 0.0
) -> list[float]:
    """The rule's weights of finite losses, between a floor and the cap; 1 for each where the strength is 0."""
    if not rule.strength or strength == 0:
        return [1.0] * len(losses)
    return np.clip(rule.tilt(np.array(losses, dtype=np.float64), typical, strength), floor, cap).tolist()
