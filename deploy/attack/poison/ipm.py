"""Inner product manipulation, "Fall of Empires" (Xie et al., UAI 2019, https://arxiv.org/abs/1903.03936)."""

from __future__ import annotations

import numpy as np

from roughfed.deploy.attack.poison.scene import Craft, PoisonContext
from roughfed.params import Flat


def ipm(epsilon: float) -> Craft:
    """The mean of the known updates, times minus epsilon.

    A small epsilon hides near zero, where medians look; from (n - f) / f on, even the mean is turned round.
    """

    def craft(scene: PoisonContext) -> Flat:
        return (-epsilon * scene.peers.mean(axis=0, dtype=np.float64)).astype(np.float32)

    return craft
