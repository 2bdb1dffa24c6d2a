"""Memories: which past examples are kept, and in which form. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.memory.class_balanced import class_balanced_memory
from roughfed.client.trainer.memory.condensed import condensed
from roughfed.client.trainer.memory.herding import herding
from roughfed.client.trainer.memory.mosaic import mosaic
from roughfed.client.trainer.memory.reservoir import reservoir
from roughfed.client.trainer.parts import Maker

MEMORIES: Mapping[str, Maker] = {
    "reservoir": reservoir,
    "class-balanced-memory": class_balanced_memory,
    "herding": herding,
    "mosaic": mosaic,
    "condensed": condensed,
}
