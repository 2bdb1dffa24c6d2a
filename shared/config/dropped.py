"""Settings of earlier versions that are gone: refused by name, with what took their place, never as a mere slip."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

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
