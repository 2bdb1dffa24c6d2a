"""What the server sees of a single client: the modes of `privacy.server_sees`, in order of what they show."""

from __future__ import annotations

MODES = ("sums", "sketches", "updates")
"""From the one that shows least to the one that shows all."""

DEFAULT = "sketches"
"""What a client lets a server see whose owner says nothing."""

UPDATES_SHOWN = (
    'With "updates" the server sees the whole update of this client in every round, with its number of examples, its '
    "metrics and its evaluation; nothing of it is masked. From a whole update single training images can be rebuilt by "
    "whoever runs the server (docs/privacy.md)."
)
"""What an owner is told who is about to accept it."""


def shows_more(mode: str, than: str) -> bool:
    """Whether a mode shows the server more than another one; one that is not known here shows everything."""
    return _rank(mode) > _rank(than)


def strictest(*modes: str) -> str:
    """The one of these that shows the server least."""
    return min(modes, key=_rank)


def _rank(mode: str) -> int:
    return MODES.index(mode) if mode in MODES else len(MODES)
