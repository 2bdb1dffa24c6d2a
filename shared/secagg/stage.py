"""Where a group is in its round, seen from the server."""

from __future__ import annotations

from enum import Enum, auto


class Stage(Enum):
    """Where the group is."""

    DEALING = auto()
    MASKING = auto()
    SKETCHING = auto()
    JUDGING = auto()
    AGREEING = auto()
    UNMASKING = auto()
    DONE = auto()
