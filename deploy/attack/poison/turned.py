"""The own update times a number: turned round, loud, or scaled so that it replaces the model.

Sign flipping: Li et al., RSA (AAAI 2019, https://arxiv.org/abs/1811.03761). Model replacement: Bagdasaryan et al.
(AISTATS 2020, https://arxiv.org/abs/1807.00459), "constrain-and-scale" without the constraint. Neurotoxin: Zhang et al.
(ICML 2022, https://arxiv.org/abs/2206.10341), algorithm 1.
"""

from __future__ import annotations

import numpy as np

from roughfed.deploy.attack.poison.scene import Craft, PoisonContext
from roughfed.params import Flat

TOP = 0.05
"""Share of the coordinates that the honest move most, which Neurotoxin keeps away from (the paper's k)."""


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


def neurotoxin(scene: PoisonContext) -> Flat:
    """The same without the coordinates that the last global step moved most, which the honest would move back.

    Differs: the update is projected when it is sent, not in every local step.
    """
    made = replace_model(scene)
    if scene.last_global is not None:
        top = max(1, int(TOP * len(made)))
        made[np.argpartition(np.abs(scene.last_global), -top)[-top:]] = 0
    return made
