"""Blocks of a page: a section with its heading, a chart with its caption, two things side by side."""

from __future__ import annotations

from roughfed.report.svg import safe

MAX_ROWS = 40
"""Clients in a chart of cells; beyond that, those with the highest figures."""

MAX_CLIENTS = 200
"""Clients in a chart with one bar or dot each; beyond that, some of them."""

FEW = 12
"""Rows of a table that is open from the start."""

MAX_COLUMNS = 30
"""Rounds in a chart; beyond that, the last ones."""


def section(title: str, content: str) -> str:
    """A part of the page with its heading."""
    return f"<section><h2>{safe(title)}</h2>{content}</section>"


def captioned(caption: str, svg: str) -> str:
    """A chart with what it shows."""
    return f"<figure><figcaption>{safe(caption)}</figcaption>{svg}</figure>"


def pair(*blocks: str) -> str:
    """Side by side where the window is wide, else one below the other."""
    return f'<div class="{"pair" if len(blocks) > 1 else "single"}">{"".join(blocks)}</div>'


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
