"""Samplers: which examples an epoch walks through, and in which order. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker

SAMPLERS: Mapping[str, Maker] = {}
