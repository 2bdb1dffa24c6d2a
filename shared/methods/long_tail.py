"""Parts for long tails."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.methods.row import Part

LONG_TAIL: Mapping[str, Part] = {}
