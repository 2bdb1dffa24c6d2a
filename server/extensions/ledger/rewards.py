"""What clients are given for their scores: shares of a payout, and levels of the model (Xu et al., NeurIPS 2021, CGSV).

https://proceedings.neurips.cc/paper/2021/hash/8682cc30db9c025ecd3fee433f8ab54c-Abstract.html, section 4: the quality of
what client i is given is tanh(beta r_i) / max_j tanh(beta r_j), as the share of the largest coordinates of the update.

Differs: a few levels instead of a quality for each client, so that k models are made and not n, and nobody gets less
than its quality; r in units of the mean score, so that beta means the same among few and many; what is given is a model
at the end, of what training changed, and never what the next round begins with.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from roughfed.params import Flat
from roughfed.types import Spec


@dataclass(frozen=True, slots=True)
class Rewards:
    """What the scores so far give.

    Attributes:
        shares: client -> its part of a payout; they add up to 1, or are all 0 where nobody contributed anything.
        levels: client -> quality of the model that it is given, 0..1; empty without levels.
    """

    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    levels: Mapping[str, float] = field(default_factory=dict[str, float])


def given(
    totals: Mapping[str, float], *, levels: Sequence[float] = (), beta: float = 1.0, flagged: Collection[str] = ()
) -> Rewards:
    """Shares and levels.

    Args:
        totals: client -> its score over all rounds.
        levels: qualities, rising, the last one 1; empty for none.
        beta: see the module.
        flagged: free-riders: as long as they are flagged, they have no share and the lowest level, whatever they score.
    """
    names = sorted(totals)
    scores = [0.0 if name in flagged else max(0.0, totals[name]) for name in names]
    whole = math.fsum(scores)
    shares = {name: score / whole if whole else 0.0 for name, score in zip(names, scores, strict=True)}
    if not levels or not names:
        return Rewards(shares)
    mean = whole / len(names)
    quality = [math.tanh(beta * (score / mean)) if mean else 0.0 for score in scores]
    best = max(quality)
    return Rewards(
        shares, {name: level_for(q / best if best else 0.0, levels) for name, q in zip(names, quality, strict=True)}
    )


SLACK = 1e-9
"""tanh of different machines differs in its last bit: a quality that is a level up to this is that level."""


def level_for(quality: float, levels: Sequence[float]) -> float:
    """The lowest level that is not below a quality."""
    return next((level for level in levels if quality <= level + SLACK), levels[-1])


def downgraded(start: Flat, final: Flat, spec: Spec, quality: float) -> Flat:
    """A model that is `final` in the share `quality` of its coordinates and `start` in the others, layer by layer.

    Of each layer those that changed most are the final ones; of equals the first. What is measured and not learned
    (BatchNorm's running statistics) is the final one, whole: half of it would be nobody's statistics.

    Args:
        start: the first model, float32 [D]; not changed.
        final: the trained one, likewise.
        spec: where the layers lie.
        quality: 0..1.

    Returns:
        float32 [D]; with 1.0 `final` to the bit. A larger quality gives the same coordinates and more.
    """
    model = start.copy()
    for tensor, where in zip(spec.tensors, spec.slices().values(), strict=True):
        before, after = start[where], final[where]
        count = len(after) if tensor.kind != "parameter" else math.ceil(round(quality * len(after), 6))
        chosen = np.argsort(-np.abs(after.astype(np.float64) - before), kind="stable")[:count]
        model[where][chosen] = after[chosen]
    return model
