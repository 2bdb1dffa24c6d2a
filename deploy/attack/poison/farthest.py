"""Min-Max and Min-Sum (Shejwalkar & Houmansadr, "Manipulating the Byzantine", NDSS 2021, section IV).

Both send mean + gamma * p with p = - standard deviation, the direction that the paper found strongest, and the largest
gamma for which the update is still no farther from the honest ones than they are from one another.

Differs: gamma is not searched for. Each bound is a quadratic in gamma, |mean - u_i + gamma p|^2 <= limit, so its
largest solution is known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roughfed.deploy.attack.poison.scene import PoisonContext
from roughfed.params import Flat

Wide = NDArray[np.float64]


def min_max(scene: PoisonContext) -> Flat:
    """Farthest such that its largest distance to an honest update is at most the largest between two."""
    mean, deviation, offsets = _spread(scene.peers)
    limit = _sq_distances(offsets).max()
    sq_offsets = (offsets**2).sum(axis=1)  # [m]
    gamma = min(
        _largest(float(deviation @ deviation), float(offset @ deviation), sq_offset - limit)
        for offset, sq_offset in zip(offsets, sq_offsets, strict=True)
    )
    return (mean - gamma * deviation).astype(np.float32)


def min_sum(scene: PoisonContext) -> Flat:
    """Farthest such that its sum of squared distances to the honest updates is at most the largest of one of them."""
    mean, deviation, offsets = _spread(scene.peers)
    limit = _sq_distances(offsets).sum(axis=1).max()
    gamma = _largest(len(offsets) * float(deviation @ deviation), 0.0, float((offsets**2).sum()) - limit)
    return (mean - gamma * deviation).astype(np.float32)


def _spread(peers: Flat) -> tuple[Wide, Wide, Wide]:
    """Mean [D], standard deviation [D], and the updates without their mean [m, D]."""
    wide = peers.astype(np.float64)
    mean = wide.mean(axis=0)
    return mean, wide.std(axis=0), wide - mean


def _sq_distances(rows: Wide) -> Wide:
    """Between all pairs, [m, m]."""
    gram = rows @ rows.T
    sq = gram.diagonal()
    return np.maximum(sq[:, None] + sq[None, :] - 2 * gram, 0.0)


def _largest(a: float, b: float, c: float) -> float:
    """The largest gamma with a gamma^2 + 2 b gamma + c <= 0, where c <= 0; 0 where all updates are alike."""
    return (-b + np.sqrt(max(b * b - a * c, 0.0))) / a if a > 0 else 0.0
