"""A Little Is Enough (Baruch et al., NeurIPS 2019, https://arxiv.org/abs/1902.06156)."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from roughfed.deploy.attack.poison.scene import PoisonContext
from roughfed.params import Flat

LEAST_Z = 1.5
"""What the paper's experiments use; with few attackers `z_max` is too small to harm anybody."""


def alie(scene: PoisonContext) -> Flat:
    """Every coordinate z standard deviations below its mean (Algorithm 3): among the honest, and always on one side.

    Differs: z is never below 1.5.
    """
    wide = scene.peers.astype(np.float64)  # [m, D]
    z = max(z_max(scene.clients, scene.attackers), LEAST_Z)
    return (wide.mean(axis=0) - z * wide.std(axis=0)).astype(np.float32)


def z_max(clients: int, attackers: int) -> float:
    """As many standard deviations as let enough honest clients lie farther out than the attackers (Algorithm 3).

    Returns:
        z; minus infinity where no honest client has to, as in a federation of two.
    """
    honest = clients - attackers
    supporters = max(clients // 2 + 1 - attackers, 1)  # honest ones that, with the attackers, make a majority
    inside = (honest - supporters) / honest if honest > 0 else 0.0
    return NormalDist().inv_cdf(inside) if inside > 0 else float("-inf")
