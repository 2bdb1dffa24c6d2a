"""Augmentations: batches changed before the networks see them. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.augment.cmo import cmo
from roughfed.client.trainer.augment.cutmix import cutmix
from roughfed.client.trainer.augment.mixup import mixup
from roughfed.client.trainer.augment.remix import remix
from roughfed.client.trainer.parts import Maker

AUGMENTS: Mapping[str, Maker] = {
    "mixup": mixup,
    "remix": remix,
    "cutmix": cutmix,
    "cmo": cmo,
}
