"""Whoever has a high loss counts as everybody else: FedAvg."""

from __future__ import annotations

import numpy as np

from roughfed.server.fairness.rule import Losses


def tilt(losses: Losses, _typical: float, _strength: float) -> Losses:
    """1 for each."""
    return np.ones(len(losses))
