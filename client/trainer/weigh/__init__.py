"""Weighings: how much each example counts, by its class. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker
from roughfed.client.trainer.weigh.class_balanced import class_balanced, drw

WEIGHINGS: Mapping[str, Maker] = {
    "class-balanced": class_balanced,
    "drw": drw,
}
