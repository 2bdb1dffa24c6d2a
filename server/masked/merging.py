"""The sums of all tiers of clients as one mean update (docs/decisions/0020-tiers.md).

Tiers that send of the same tensors share a rotation: one of them sends all of it, and what the others send corrects
its mean, rotated coordinate by rotated coordinate. Tiers of other tensors are merged parameter by parameter, as the
mean over those who train it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roughfed.codec.plan import Summed
from roughfed.params import Flat
from roughfed.server.masked.outcome import TierSum
from roughfed.tiers import Mean, merged


def merged_sums(tiers: Sequence[TierSum], size: int) -> Mean:
    """The mean update of a round, to be read slice by slice.

    Args:
        tiers: what each tier gave.
        size: parameters of the model, D.
    """
    found = [one for one in tiers if one.total is not None and one.accepted]
    rotations: dict[bytes, list[TierSum]] = {}
    for one in found:
        rotations.setdefault(one.masking.params.seed, []).append(one)
    parts = [
        (_reader(mean_of_sums([*map(_summed, same)])), sum(one.weight for one in same), same[0].masking.ranges)
        for same in rotations.values()
    ]
    return merged(parts, size)


def mean_of_sums(sums: Sequence[Summed]) -> Flat:
    """Sums over the same tensors: their mean, float32 [d]."""
    from roughfed.codec.chain import decode_merged, decode_sum  # the kernels: loaded where there is something to do

    ordered = sorted(sums, key=lambda one: one.params.keep_one_in)
    if ordered[0].params.keep_one_in == 1 and len(ordered) > 1:
        return decode_merged(ordered[0], ordered[1:])
    total = sum(one.weight for one in ordered)
    means = [decode_sum(one.code_sums, one.num_clients, one.params, weight=one.weight) for one in ordered]
    if len(means) == 1:
        return means[0]
    return sum(  # those who send all of it gave nothing in this round: a subset alone is no difference to scale up
        (mean * np.float32(one.weight / total) for mean, one in zip(means, ordered, strict=True)),
        start=np.zeros_like(means[0]),
    )


def _summed(one: TierSum) -> Summed:
    codes = one.total if one.total is not None else np.empty(0, np.uint32)
    return Summed(codes, len(one.accepted), one.weight, one.masking.params)


def _reader(values: Flat) -> Mean:
    return lambda start, stop: values[start:stop]
