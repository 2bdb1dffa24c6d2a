"""The own update times a number: turned round, loud, or scaled so that it replaces the model.

Sign flipping: Li et al., RSA (AAAI 2019, https://arxiv.org/abs/1811.03761). Model replacement: Bagdasaryan et al.
(AISTATS 2020, https://arxiv.org/abs/1807.00459), "constrain-and-scale" without the constraint.
"""

from __future__ import annotations

import numpy as np

from roughfed.deploy.attack.poison.scene import Craft, PoisonContext
from roughfed.params import Flat


def times(factor: float) -> Craft:
    """The own update `factor` times."""

    def craft(scene: PoisonContext) -> Flat:
        return scene.own * np.float32(factor)

    return craft


def replace_model(scene: PoisonContext) -> Flat:
    """The own update n/f times: averaged over n clients, f of them put their own model in the place of the global one.

    The paper's gamma = n / eta with eta = 1, divided among f attackers; the honest updates are taken to cancel.
    """
    return scene.own * np.float32(scene.clients / scene.attackers)
