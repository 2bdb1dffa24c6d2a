"""Blocks of a page: a section with its heading, a chart with its caption, two things side by side."""

from __future__ import annotations

from roughfed.report.svg import safe


def section(title: str, content: str) -> str:
    """A part of the page with its heading."""
    return f"<section><h2>{safe(title)}</h2>{content}</section>"


def captioned(caption: str, svg: str) -> str:
    """A chart with what it shows."""
    return f"<figure><figcaption>{safe(caption)}</figcaption>{svg}</figure>"


def pair(*blocks: str) -> str:
    """Side by side where the window is wide, else one below the other."""
    return f'<div class="{"pair" if len(blocks) > 1 else "single"}">{"".join(blocks)}</div>'
