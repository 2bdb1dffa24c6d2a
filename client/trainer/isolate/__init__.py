"""Isolation: which parameters belong to which task. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.isolate.packnet import packnet
from roughfed.client.trainer.parts import Maker

ISOLATORS: Mapping[str, Maker] = {
    "packnet": packnet,
}
