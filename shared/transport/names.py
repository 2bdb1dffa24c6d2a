"""Names that both ends must spell alike, and what a refusal's word means for the other end."""

from __future__ import annotations

from collections.abc import Iterable

SERVICE = "roughfed.v1.Federation"
"""Of the federation port; the enrolment port's is in `roughfed.wire.enrolment`."""

REASON_KEY = "roughfed-reason"
"""Trailing metadata of every refusal: its kebab-case word."""

GO = "roughfed-go"
"""Initial metadata of an upload whose turn has come. A call that ends without it was refused, or is known."""

SOFTWARE_KEY, PROTOCOL_KEY, TIME_KEY = "roughfed-software", "roughfed-protocol", "roughfed-time"
"""Trailing metadata of UpdateStatus: the server's version, the oldest and the newest protocol that it speaks, as
`1-1`, and its clock (Unix seconds)."""

SOCKET = "control.sock"
"""Of a running server, for its operator, in its state directory."""

PASSING = frozenset({"storage", "stalled", "superseded", "strikes"})
"""Words of refusals that pass: the other end's disk was full, a stream fell silent, a newer one took over, or it wants
to hear nothing of this client for a while."""


def reason_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The word of a refusal; empty when the other end gave none."""
    return next((str(value) for key, value in metadata or () if key == REASON_KEY), "")
