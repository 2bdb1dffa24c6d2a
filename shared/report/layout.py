"""Blocks of a page: a section with its heading, something with its caption, two things side by side."""

from __future__ import annotations

import re
from html import escape

# No text has a place for these, not even escaped; and marks that turn the direction of text could disguise a name.
UNPRINTABLE = re.compile(
    "[^\\t\\n\\r\\x20-\\x7e\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]|[\\u202a-\\u202e\\u2066-\\u2069]"
)

MAX_ROWS = 40
"""Clients in a chart of cells; beyond that, those with the highest figures."""

MAX_CLIENTS = 200
"""Clients in a chart with one bar or dot each; beyond that, some of them."""

FEW = 12
"""Rows of a table that is open from the start."""

MAX_COLUMNS = 30
"""Rounds in a chart; beyond that, the last ones."""


def safe(content: str) -> str:
    """Any text as HTML text or attribute value: escaped, what cannot be shown replaced."""
    return escape(UNPRINTABLE.sub("�", content))


def section(title: str, content: str) -> str:
    """A part of the page with its heading."""
    return f"<section><h2>{safe(title)}</h2>{content}</section>"


def captioned(caption: str, content: str) -> str:
    """A table or an image with what it shows."""
    return f"<figure><figcaption>{safe(caption)}</figcaption>{content}</figure>"


def pair(*blocks: str) -> str:
    """Side by side where the window is wide, else one below the other; empty ones do not count."""
    known = [block for block in blocks if block]
    return f'<div class="{"pair" if len(known) > 1 else "single"}">{"".join(known)}</div>'


def lead(words: str) -> str:
    """What a section shows, in a sentence or two."""
    return f'<p class="lead">{safe(words)}</p>'


def note(words: str) -> str:
    """What the figures beside it can and cannot prove."""
    return f'<p class="note">{safe(words)}</p>'


def folded(words: str, listed: str, rows: int) -> str:
    """A table that is closed at first if it is long."""
    opened = ' open="open"' if rows <= FEW else ""
    return f"<details{opened}><summary>{safe(words)}</summary>{listed}</details>"
