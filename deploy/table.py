"""Tables that fit a terminal: no figure is cut and no row takes two lines. Columns that have no room go, by `spare`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

GAP = 2
"""Blanks between two columns."""
PROSE = 24
"""Characters of a text that are worth a column."""
CUT = "..."


@dataclass(frozen=True, slots=True)
class Column:
    """One column; a column that says nothing in any row is not drawn.

    Attributes:
        title: over it; it may have several lines.
        cells: of all rows.
        spare: the larger, the earlier the column goes where the terminal is narrow; 0: it stays.
        prose: words, at the left, of which the end may be cut; else figures or names, which are drawn whole.
        left: at the left, like prose.
        styles: of the cells; none: plain.
    """

    title: str
    cells: Sequence[str]
    spare: int = 0
    prose: bool = False
    left: bool = False
    styles: Sequence[str] = ()

    @property
    def whole(self) -> int:
        """Its width with every cell in full."""
        return max(map(len, (*self.title.split("\n"), *self.cells)), default=0)

    @property
    def least(self) -> int:
        """The width without which it is not worth drawing."""
        return max(min(self.whole, PROSE), *map(len, self.title.split("\n"))) if self.prose else self.whole


class FittingTable:
    """Columns, the first of them at the left; rows are as many as its cells."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """Nothing is drawn yet."""
        self._columns = [each for each in columns if any(each.cells)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich asks for."""
        shown = list(fitted(self._columns, options.max_width))
        drawn = RichTable(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
        for each, width in shown:
            side = "left" if each.prose or each.left else "right"
            drawn.add_column(each.title, justify=side, width=width, no_wrap=True, overflow="crop")
        for row in range(len(shown[0][0].cells) if shown else 0):
            cells = [(cut(each.cells[row], width), each.styles[row : row + 1]) for each, width in shown]
            drawn.add_row(*(Text(text, style="".join(style)) for text, style in cells))
        yield drawn


def fitted(columns: Sequence[Column], width: int) -> Iterator[tuple[Column, int]]:
    """The columns that have room, each with its width.

    Args:
        columns: in order.
        width: of the terminal, in characters.
    """
    shown = list(columns)
    while (room := width - sum(each.least + GAP for each in shown) + GAP) < 0:
        first = max(shown, key=lambda each: each.spare, default=None)
        if first is None or not first.spare:
            break
        shown.remove(first)
    for each in shown:
        more = min(each.whole - each.least, max(0, room))
        room -= more
        yield each, each.least + more


def cut(text: str, width: int) -> str:
    """The beginning of a text, to the end of a word, with dots for what is not said."""
    if len(text) <= width:
        return text
    head, _, _ = text[: width - len(CUT) + 1].rpartition(" ")
    return (head.rstrip(",;:( ") or text[: width - len(CUT)]) + CUT
