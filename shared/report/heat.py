"""Heat maps: a value between two bounds for each row and column."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from roughfed.report.bars import lay_rows
from roughfed.report.scale import Format, drawable
from roughfed.report.svg import FONT, WIDTH, clip, element, empty, figure, text, tip

RIGHT = 14
STEPS = 10  # shades
DARK = 8  # from this shade on, light text reads better than dark


@dataclass(frozen=True, slots=True)
class Look:
    """How the cells of a heat map are drawn.

    Attributes:
        columns: names of the columns.
        high: the value of the full shade, positive.
        form: how values are written.
        faint: write the smallest values, too; else their cells have a tooltip only.
        said: (row name, number of the column) -> what is written instead of the value.
        marks: (row name, number of the column) of cells whose corner is marked.
        why: what a mark says.
    """

    columns: Sequence[str]
    high: float
    form: Format
    faint: bool = True
    said: Mapping[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    marks: Collection[tuple[str, int]] = ()
    why: str = "marked"


def heat_map(
    title: str,
    values: Mapping[str, Sequence[float | None]],
    *,
    columns: Sequence[str],
    high: float,
    form: Format,
    faint: bool = True,
) -> str:
    """Draw a table of shades from 0 (faint) to `high` (full).

    Args:
        title: for readers who cannot see it.
        values: by row name, one value for each column; None is left blank.
        columns: their names.
        high: the value of the full shade, positive.
        form: how values are written.
        faint: write the smallest values, too; else their cells have a tooltip only.

    Returns:
        an SVG element.
    """
    return shaded(title, values, Look(columns, high, form, faint))


def shaded(title: str, values: Mapping[str, Sequence[float | None]], look: Look) -> str:
    """The same with everything that can be said of its look."""
    if not values or not look.columns or not look.high > 0:
        return empty(title, "nothing to show")
    rows = lay_rows(list(values), top=4)
    pitch = (WIDTH - RIGHT - rows.left) / len(look.columns)
    body = list(rows.labels())
    for row, (name, cells) in enumerate(values.items()):
        for column, value in enumerate(cells):
            place = (rows.left + column * pitch, rows.top + row * rows.pitch)
            body.append(_cell(value, name, column, Box(*place, pitch, rows.pitch), look))
    body.append(column_names(look.columns, left=rows.left, pitch=pitch, y=rows.bottom + 16))
    return figure(title, body, rows.bottom + 26)


class Box(NamedTuple):
    """Where a cell lies, the gap to the next one included."""

    x: float
    y: float
    width: float
    height: float


def _cell(value: float | None, name: str, column: int, box: Box, look: Look) -> str:
    written = look.said.get((name, column)) or (look.form(value) if drawable(value) else "no value")
    shade = round(min(max(value / look.high, 0), 1) * STEPS) if drawable(value) else None
    gap = 1.0 if min(box.width, box.height) > 8 else 0.0
    width, height = box.width - gap, box.height - gap
    shape = {"x": box.x, "y": box.y, "width": width, "height": height}
    class_ = "blank" if shade is None else f"heat h{shade}"
    parts = [element("rect", tip(f"{name}, {look.columns[column]}: {written}"), class_=class_, **shape)]
    dark = shade is not None and shade >= DARK
    room = box.width >= len(written) * FONT * 0.6 + 4 and box.height >= FONT + 4
    if shade is not None and room and (shade or look.faint):
        ink = "on-dark" if dark else "on-light"
        parts.append(text(written, box.x + width / 2, box.y + box.height / 2 + 4, text_anchor="middle", class_=ink))
    if (name, column) in look.marks:
        parts.append(corner(box.x + width, box.y, dark=dark, why=look.why))
    return "".join(parts)


def corner(right: float, top: float, *, dark: bool, why: str = "marked") -> str:
    """A mark in the upper right corner of a cell, that stands out from a dark shade or a faint one."""
    return element("path", tip(why), d=f"M{right:.1f} {top:.1f}h-8l8 8z", class_="on-dark" if dark else "on-light")


def column_names(columns: Sequence[str], *, left: float, pitch: float, y: float) -> str:
    """The names, as many as fit side by side."""
    longest = min(max(len(name) for name in columns), 12)
    every = math.ceil((longest * FONT * 0.57 + 6) / pitch)
    shown = range(0, len(columns), every)
    return "".join(text(clip(columns[i], 12), left + (i + 0.5) * pitch, y, text_anchor="middle") for i in shown)
