"""Free-riders: they train nothing, and are given the model.

Lin et al. (https://arxiv.org/abs/1911.12560); Fraboni et al. (AISTATS 2021, https://arxiv.org/abs/2006.11901).
"""

from __future__ import annotations

import numpy as np

from roughfed.deploy.attack.poison.scene import PoisonContext
from roughfed.params import Flat


def zero(scene: PoisonContext) -> Flat:
    """Nothing: the global model sent back."""
    return np.zeros_like(scene.own)


def replay_global(scene: PoisonContext) -> Flat:
    """What the last round moved the global model by; zeros while there is no such round."""
    return np.zeros_like(scene.own) if scene.last_global is None else scene.last_global.copy()


def replay_own(scene: PoisonContext) -> Flat:
    """The first update, honestly trained, for ever."""
    return (scene.own if scene.last_own is None else scene.last_own).copy()
