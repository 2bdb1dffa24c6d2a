"""Memories: which past examples are kept, and in which form. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker

MEMORIES: Mapping[str, Maker] = {}
