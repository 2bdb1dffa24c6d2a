"""Names of the defences, which the server has and the settings must know: its own, and those that packages bring."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Annotated

from pydantic import BeforeValidator, PlainValidator

from roughfed.config.values import Words, refuse, show

GROUP = "roughfed.defences"
"""Entry points of packages that bring a rule: name -> a `roughfed.server.defence.Rule`."""

NAMES = (
    "auto",
    "none",
    "default",
    "norm-bound",
    "krum",
    "multi-krum",
    "nnm",
    "median",
    "trimmed-mean",
    "bulyan",
    "geometric-median",
    "centered-clipping",
    "fltrust",
    "flame",
    "dnc",
    "foolsgold",
)


AUTO: Mapping[str, str] = MappingProxyType({"updates": "default", "sketches": "default", "sums": "none"})
"""`privacy.server_sees` -> what "auto" stands for. Of sums nobody is left out: what one client can do to the sum of its
group is bounded by the range of the codes."""


def brought() -> list[str]:
    """Names of the rules that installed packages bring, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def _rule(value: object) -> object:
    if not isinstance(value, str) or value not in (*NAMES, *brought()):
        near = difflib.get_close_matches(str(value), (*NAMES, *brought()), n=1)
        guess = f"Did you mean {show(near[0])}? " if near else ""
        refuse(f"{show(value)} is no defence.", f"{guess}Write one of: {', '.join((*NAMES, *brought()))}.")
    return value


def _attackers(value: object) -> object:
    if isinstance(value, float) and 0.5 <= value <= 1:
        refuse(f"No rule holds against {show(value)} of the clients.", "Write a share below 0.5, or their number.")
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    share = isinstance(value, float) and 0 <= value < 0.5
    if not (number or share):
        refuse(f"{show(value)} is no number of attackers.", "Write a share from 0.0 to below 0.5, or a whole number.")
    return value


DefenceRule = Annotated[str, BeforeValidator(_rule)]
Attackers = Annotated[int | float, PlainValidator(_attackers), Words("share below 0.5, or whole number", show)]
