"""Decoupling: a classifier that is trained, or adjusted, apart from the features. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.decouple.crt import crt
from roughfed.client.trainer.decouple.tau_norm import tau_norm
from roughfed.client.trainer.parts import Maker

DECOUPLERS: Mapping[str, Maker] = {
    "crt": crt,
    "tau-norm": tau_norm,
}
