"""Ensembles: how the experts on one trunk are trained. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.ensemble.ride import ride
from roughfed.client.trainer.ensemble.sade import sade
from roughfed.client.trainer.parts import Maker

ENSEMBLES: Mapping[str, Maker] = {
    "ride": ride,
    "sade": sade,
}
