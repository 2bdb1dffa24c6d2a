"""How alerts look on a terminal: the worst first, each with who, what, since when, and what to type. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roughfed.deploy.cli.live_words import span

MARKS = {
    "critical": ("!!", "bold white on red"),
    "warning": ("! ", "bold black on yellow"),
    "info": ("i ", "bold cyan"),
}
STYLES = {"critical": "red", "warning": "yellow", "info": "cyan"}


def alerts(found: Sequence[Mapping[str, Any]], *, now: float, most: int | None = None) -> RenderableType:
    """A block for each.

    Args:
        found: of a status.
        now: Unix seconds.
        most: so many are shown in full; the rest is named.
    """
    shown = found if most is None else found[:most]
    blocks: list[RenderableType] = [_one(each, now) for each in shown]
    if rest := found[len(shown) :]:
        blocks.append(Text(f"   and {', '.join(each['name'] for each in rest)}", style="yellow"))
    return Group(*blocks)


def _one(each: Mapping[str, Any], now: float) -> RenderableType:
    severity = str(each["severity"])
    mark, mark_style = MARKS.get(severity, MARKS["info"])
    block = Table.grid(padding=(0, 1))
    block.add_column(no_wrap=True)
    block.add_column()
    said = Text()
    said.append(str(each["name"]), style=f"bold {STYLES.get(severity, '')}")
    said.append(f" for {span(max(0.0, now - each['since']))}: ", style="dim")
    said.append(str(each["text"]))
    block.add_row(Text(mark, style=mark_style), said)
    block.add_row("", Text(f"> {each['cure']}", style="green"))
    return block
