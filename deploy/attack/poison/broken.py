"""Updates that are none: no numbers, absurd ones, or too few. One of them in a sum would be the end of the model."""

from __future__ import annotations

import numpy as np

from roughfed.deploy.attack.poison.scene import PoisonContext
from roughfed.params import Flat

HUGE = 1e30
"""Finite in float32, and its square is not."""


def not_a_number(scene: PoisonContext) -> Flat:
    """The own update with one NaN in its middle."""
    made = scene.own.copy()
    made[len(made) // 2] = np.nan
    return made


def huge(scene: PoisonContext) -> Flat:
    """The own update turned round, every value 1e30."""
    return np.where(scene.own > 0, np.float32(-HUGE), np.float32(HUGE)).astype(np.float32)


def wrong_shape(scene: PoisonContext) -> Flat:
    """The own update without its last value, float32 [D - 1]."""
    return scene.own[:-1].copy()
