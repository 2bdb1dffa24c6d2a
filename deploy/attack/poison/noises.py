"""Noise instead of an update.

Gaussian: Blanchard et al. (NeurIPS 2017, https://arxiv.org/abs/1703.02757).
Disguised free-riders: Fraboni et al. (AISTATS 2021, https://arxiv.org/abs/2006.11901) and Lin et al.
(https://arxiv.org/abs/1911.12560).
"""

from __future__ import annotations

import numpy as np

from roughfed.deploy.attack.poison.scene import PoisonContext, noise, norm, typical_norm
from roughfed.params import Flat


def gaussian(scene: PoisonContext) -> Flat:
    """Noise that is the same in all directions and as long as an honest update.

    Differs: the paper's standard deviation of 200 is what any limit on norms would find.
    """
    return noise(len(scene.own), typical_norm(scene.peers), scene.rng)


def free_noise(scene: PoisonContext) -> Flat:
    """Noise of the scale of the last global step, coordinate by coordinate; zeros while there is none.

    Differs: the scale comes from the last step alone, not from a fit over all rounds.
    """
    if scene.last_global is None:
        return np.zeros_like(scene.own)
    step = scene.last_global.astype(np.float64)
    values = step * scene.rng.standard_normal(len(step))
    length = norm(values)
    return (values * (norm(step) / length if length else 0.0)).astype(np.float32)
