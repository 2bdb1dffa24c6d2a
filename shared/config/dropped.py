"""Settings of earlier versions: renamed ones are read for one release, the others refused with what replaces them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType

log = logging.getLogger(__name__)

RENAMED: Mapping[str, str] = MappingProxyType(
    {"classes": "tiers", "policy.client_class": "policy.tier", "reward.tiers": "reward.levels"}
)
"""Table or dotted key of 0.1 -> its name now. The old names go with 0.3."""

DROPPED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "policy.accept_server_sees": (
            "policy.server_sees took its place, the most that the server may see; what shows less is always agreed to.",
            (
                'Remove it, or write server_sees = "sketches" or "sums" in [policy] instead; to let the server see '
                "whole updates, remove it and type: roughfed join --accept updates."
            ),
        ),
    }
)
"""Dotted key -> cause and cure."""


def current_name(dotted: str, where: str = "") -> str:
    """The name of a table or a setting now.

    Args:
        dotted: as it was written.
        where: it was written, for the warning about an old name; empty: no warning.
    """
    for old, new in RENAMED.items():
        if dotted == old or dotted.startswith(f"{old}."):
            name = new + dotted[len(old) :]
            if where:
                log.warning("%s: %s is called %s now; the old name works until 0.3", where, dotted, name)
            return name
    return dotted
