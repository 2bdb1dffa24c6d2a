"""Local training methods by name: a table of parts, and compositions of them.

Here is what both sides must know of a part: its name, options, needs and what it cannot stand beside, so that a server
can refuse a method before round 1. What a part does is in `client/trainer/<room>/`; a contract test compares the two.
A new part is one file in its room, one row in that room's `__init__`, and one row here. Nothing here imports torch.
"""

from __future__ import annotations

from roughfed.methods.composition import (
    AUTO,
    PLAIN,
    Chosen,
    Composition,
    is_personal,
    missing,
    read_method,
    write_table,
)
from roughfed.methods.row import NEEDS, ROOMS, Option, Part, Value
from roughfed.methods.table import PARTS, PRESETS

__all__ = [
    "AUTO",
    "NEEDS",
    "PARTS",
    "PLAIN",
    "PRESETS",
    "ROOMS",
    "Chosen",
    "Composition",
    "Option",
    "Part",
    "Value",
    "is_personal",
    "missing",
    "read_method",
    "write_table",
]
