"""Regularisers: what holds the parameters or the outputs near older ones. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker
from roughfed.client.trainer.regularize.ewc import ewc
from roughfed.client.trainer.regularize.fedprox import fedprox
from roughfed.client.trainer.regularize.global_distillation import global_distillation
from roughfed.client.trainer.regularize.lwf import lwf
from roughfed.client.trainer.regularize.scaffold import scaffold
from roughfed.client.trainer.regularize.si import si
from roughfed.client.trainer.regularize.weight_average import weight_average

REGULARIZERS: Mapping[str, Maker] = {
    "ewc": ewc,
    "fedprox": fedprox,
    "global-distillation": global_distillation,
    "lwf": lwf,
    "scaffold": scaffold,
    "si": si,
    "weight-average": weight_average,
}
