"""Mimic (Karimireddy et al., ICLR 2022, https://arxiv.org/abs/2006.09365).

Differs: the paper looks for whom to copy in a first phase and then copies that client for good; here it is looked for
in each round. Where clients differ by their data it is the same one for long.
"""

from __future__ import annotations

import numpy as np

from roughfed.deploy.attack.poison.scene import PoisonContext
from roughfed.params import Flat


def mimic(scene: PoisonContext) -> Flat:
    """Copy the client that lies farthest along the direction in which the known updates differ most.

    Nothing of it can be told from an honest update; one client's data count f + 1 times.
    """
    wide = scene.peers.astype(np.float64)  # [m, D]
    offsets = wide - wide.mean(axis=0)
    _, vectors = np.linalg.eigh(offsets @ offsets.T)  # [m, m]; the last column belongs to the largest value
    direction = vectors[:, -1] @ offsets  # [D]
    return scene.peers[int(np.abs(wide @ direction).argmax())].copy()
