"""What a rule may remember of clients from round to round: the sum of each one's updates, as a few numbers of it.

n rows, DIM numbers of each sum. The numbers are a linear map of the updates (`View.projected`) whose signs are drawn
once a run from a secret seed, so the sum over rounds is that of the map. A cosine of two sums is off by about
(1 - cosine^2) / sqrt(DIM): near 1, where sybils are, hardly at all.
"""

from __future__ import annotations

import numpy as np

from roughfed.server.defence.gram import Values
from roughfed.server.defence.rule import Situation
from roughfed.server.defence.verdict import State
from roughfed.server.defence.view import View

DIM = 509
"""A prime: no layer of a model has a width that is a multiple of it, by which its coordinates could fall together."""

AGE = 20
"""Who was not seen for so many rounds is forgotten."""

KEY, SUM = "key", "sum/"


def remembered(view: View, situation: Situation) -> State:
    """The state with this round in it: the seed of the signs, and by client [1 + DIM], its last round and its sum."""
    old = situation.state
    key = old[KEY] if KEY in old else np.array([float(situation.seed % 2**52)])  # a float64 holds it
    kept = {name: value for name, value in old.items() if name != KEY and situation.round - value[0] <= AGE}
    for name, row in zip(view.names, view.projected(DIM, seed=int(key[0])), strict=True):
        before = kept[SUM + name][1:] if SUM + name in kept else 0.0
        kept[SUM + name] = np.concatenate([[float(situation.round)], before + row])
    return kept | {KEY: key}


def sums(view: View, state: State) -> Values:
    """The sums of the clients of a view, float64 [n, DIM]."""
    return np.stack([state[SUM + name][1:] for name in view.names])
