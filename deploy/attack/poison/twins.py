"""Sybils (Fung et al., RAID 2020, https://arxiv.org/abs/1808.04866, section 4): many names, one update."""

from __future__ import annotations

from roughfed.deploy.attack.poison.scene import PoisonContext
from roughfed.params import Flat


def first_fellow(scene: PoisonContext) -> Flat:
    """What the first of the colluders trained."""
    return (scene.own if scene.fellows is None else scene.fellows[0]).copy()
