"""A mixture of two normal distributions over one number, by expectation-maximisation (Dempster et al., 1977).

What it is for: losses of an early model fall into two heaps, those of right and those of wrong labels (Arazo et al.,
ICML 2019; Li et al., ICLR 2020). N is the number of values.

Differs: values are squeezed between two quantiles before they are scaled to 0..1. The reference of DivideMix scales by
the smallest and the largest, so that a single outlier presses all others into one heap.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LOW, HIGH = 0.01, 0.98  # quantiles that become 0 and 1
FLOOR = 5e-4  # added to a variance, as the reference of DivideMix does
STEPS = 100
ENOUGH = 1e-6  # a step that moves no mean by more is the last
FEWEST = 8  # values, below which there are no two heaps to be seen


@dataclass(frozen=True, slots=True)
class Mixture:
    """Two normal distributions, the lower one first.

    Attributes:
        means: float64 [2], ascending.
        variances: float64 [2].
        shares: float64 [2], of the values; they add up to 1.
        upper: float32 [N], the chance that each value is of the upper one, 0..1.
    """

    means: Tensor
    variances: Tensor
    shares: Tensor
    upper: Tensor


def scaled(values: Tensor) -> Tensor:
    """Float64 [N] in 0..1: the 1 % quantile becomes 0, the 98 % quantile 1, what is beyond is cut off."""
    wide = values.detach().double()
    if not len(wide):
        return wide
    ranked = wide.sort().values  # torch.quantile refuses more than 16 million values
    low, high = (ranked[round(share * (len(ranked) - 1))] for share in (LOW, HIGH))
    return ((wide - low) / (high - low).clamp_min(1e-12)).clamp(0.0, 1.0)


def two_heaps(values: Tensor) -> Mixture:
    """Fit the mixture.

    Args:
        values: float64 [N], in a unit in which `FLOOR` is small: see `scaled`.

    Returns:
        the mixture; with fewer than 8 values, or values that are all alike, everything is in the lower one.
    """
    wide = values.detach().double().cpu()
    if len(wide) < FEWEST or float(wide.max() - wide.min()) < 1e-9:
        return _single(wide, values)
    lower = wide <= wide.mean()
    shares = torch.stack([lower.double().mean(), (~lower).double().mean()])
    means = torch.stack([wide[lower].mean(), wide[~lower].mean()])
    variances = torch.stack([wide[lower].var(correction=0), wide[~lower].var(correction=0)]) + FLOOR
    chance = _chances(wide, means, variances, shares)
    for _ in range(STEPS):
        weight = chance.sum(dim=0).clamp_min(1e-12)  # [2]
        before, means = means, (chance * wide[:, None]).sum(dim=0) / weight
        variances = (chance * (wide[:, None] - means).square()).sum(dim=0) / weight + FLOOR
        shares = weight / weight.sum()
        chance = _chances(wide, means, variances, shares)
        if float((means - before).abs().max()) < ENOUGH:
            break
    order = means.argsort()
    upper = chance[:, order[1]].to(values.device, torch.float32)
    return Mixture(means[order], variances[order], shares[order], upper)


def _chances(wide: Tensor, means: Tensor, variances: Tensor, shares: Tensor) -> Tensor:
    """Float64 [N, 2]: of which distribution each value is."""
    exponent = -0.5 * (wide[:, None] - means).square() / variances - 0.5 * variances.log()
    return (exponent + shares.clamp_min(1e-300).log()).softmax(dim=1)


def _single(wide: Tensor, values: Tensor) -> Mixture:
    mean = wide.mean() if len(wide) else torch.zeros((), dtype=torch.float64)
    means, variances = torch.stack([mean, mean]), torch.full((2,), FLOOR, dtype=torch.float64)
    shares = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return Mixture(means, variances, shares, torch.zeros(len(wide), device=values.device))
