"""The federation's model as far as this directory knows it: names and shapes, from the newest model file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from roughfed.deploy.doctor.site import DoctorSite

MAX_HEADER_BYTES = 64 << 20


def known_shapes(site: DoctorSite) -> Mapping[str, tuple[int, ...]]:
    """Name -> shape of every tensor that travels; empty before the first round."""
    files = sorted((site.state / "models").glob("*.safetensors"), key=_age)
    return shapes_of(files[-1]) if files else {}


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return -math.inf


def shapes_of(path: Path) -> Mapping[str, tuple[int, ...]]:
    """From the head of a safetensors file, bounded; empty when it is none."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            head: Any = json.loads(file.read(size)) if size <= MAX_HEADER_BYTES else {}
    except (OSError, ValueError):
        return {}
    rows = cast("dict[str, object]", head) if isinstance(head, dict) else {}
    told = ((name, cast("dict[str, object]", row).get("shape")) for name, row in rows.items() if isinstance(row, dict))
    return {name: tuple(cast("list[int]", shape)) for name, shape in told if isinstance(shape, list)}
