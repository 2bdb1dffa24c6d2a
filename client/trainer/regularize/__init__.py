"""Regularisers: what holds the parameters or the outputs near older ones. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker
from roughfed.client.trainer.regularize.fedprox import fedprox

REGULARIZERS: Mapping[str, Maker] = {
    "fedprox": fedprox,
}
