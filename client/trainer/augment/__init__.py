"""Augmentations: batches changed before the networks see them. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker

AUGMENTS: Mapping[str, Maker] = {}
