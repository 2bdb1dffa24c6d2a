"""Weighings: how much each example counts, by its class. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker

WEIGHINGS: Mapping[str, Maker] = {}
