"""Parts for wrong labels."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.methods.row import Part

NOISY: Mapping[str, Part] = {}
