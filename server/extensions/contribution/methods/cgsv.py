"""CGSV, the cosine gradient Shapley value (Xu, Lyu, Ma, Miao, Foo and Low, NeurIPS 2021, algorithm 1).

A client's score of a round is the cosine of its update with the aggregate; over the rounds r = 0.95 r + 0.05 cosine, as
in the authors' code. It needs no data and no single coordinate, only inner products: of updates, or of sketches.

It measures agreement: who has what nobody else has, such as the only examples of a rare class, scores low. The part
"others" is the cosine with the aggregate of the other clients alone: without it noise scores |own part| / |aggregate|.

Differs: the authors divide by the sum of all r in every round, so that everybody's falls when a client joins; here r
stands for itself, and begins with the first cosine. Their updates are all scaled to one length before they are
averaged; here the aggregate is the federation's own.
"""

from __future__ import annotations

from roughfed.server.extensions.contribution.game import cosines_with
from roughfed.server.extensions.contribution.method import Case, Found, Play, State

KEPT = 0.95


def cgsv(case: Case) -> Play:
    """The cosines of a round; nothing is evaluated."""
    gram = case.gram()
    own, others = (cosines_with(gram, case.weights, others=alone) for alone in (False, True))
    yield []
    return {
        name: {"round": cosine, "cosine": cosine, "others": other}
        for name, cosine, other in zip(case.names, own, others, strict=True)
    }


def moving_mean(state: State, found: Found) -> State:
    """The next r; who is not in a round keeps its own."""
    fresh = {
        name: (KEPT * state[name][0] + (1 - KEPT) * parts["round"] if name in state else parts["round"],)
        for name, parts in found.items()
    }
    return {**state, **fresh}
