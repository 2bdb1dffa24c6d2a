"""Selectors: which examples of a batch are believed. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker

SELECTORS: Mapping[str, Maker] = {}
