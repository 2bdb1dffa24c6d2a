"""Parts for data that keep changing."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.methods.row import Part

CONTINUAL: Mapping[str, Part] = {}
