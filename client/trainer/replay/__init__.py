"""Replays: what is done with a memory in each step. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker

REPLAYS: Mapping[str, Maker] = {}
