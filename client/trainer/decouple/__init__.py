"""Decoupling: a classifier that is trained, or adjusted, apart from the features. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker

DECOUPLERS: Mapping[str, Maker] = {}
