"""Horizontal bars by name: one value each, or a stack.

Rows shrink with their number, so that 200 clients still make one picture; then only some rows are named.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from roughfed.report.scale import Scale, drawable, finite
from roughfed.report.svg import FONT, WIDTH, Axis, clip, colour, element, empty, figure, legend, text, tip

NAME_CHARACTERS = 22
RIGHT = 14
FIT_HEIGHT = 520.0  # rows shrink to fit into it, between the two pitches
MIN_PITCH, MAX_PITCH = 3.0, 26.0


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the rows lie: `left` is the end of the names, `pitch` the distance of rows, `top` the upper edge."""

    names: Sequence[str]
    top: float
    left: float
    pitch: float

    @property
    def bottom(self) -> float:
        """Lower edge of the last row."""
        return self.top + self.pitch * len(self.names)

    @property
    def thickness(self) -> float:
        """Height of a bar."""
        return self.pitch * (0.76 if self.pitch > 8 else 0.9)

    def y(self, row: int) -> float:
        """Upper edge of the bar of a row."""
        return self.top + self.pitch * row + (self.pitch - self.thickness) / 2

    def labels(self) -> Iterator[str]:
        """The names, as many as fit one below the other."""
        every = math.ceil((FONT + 2) / self.pitch)
        for row in range(0, len(self.names), every):
            name = clip(self.names[row], NAME_CHARACTERS)
            yield text(name, self.left - 8, self.y(row) + self.thickness / 2 + 4, text_anchor="end")


def lay_rows(names: Sequence[str], *, top: float) -> Rows:
    """Rows for these names, the first on top."""
    widest = max((len(clip(name, NAME_CHARACTERS)) for name in names), default=0)
    pitch = min(max(FIT_HEIGHT / max(len(names), 1), MIN_PITCH), MAX_PITCH)
    return Rows(names, top, widest * FONT * 0.57 + 12, pitch)


def bars(title: str, values: Mapping[str, float | None], *, axis: Axis) -> str:
    """Draw one bar for each name, with its value beside it where there is room.

    Args:
        title: for readers who cannot see it.
        values: by name, not negative; None draws a dash.
        axis: value axis from 0.

    Returns:
        an SVG element.
    """
    if not finite(values.values()):
        return empty(title, "not measured")
    rows = lay_rows(list(values), top=4)
    across = Scale(0, axis.ticks[-1], rows.left, WIDTH - RIGHT - 48)
    body = [_value_lines(axis, across, rows), *rows.labels()]
    for row, (name, value) in enumerate(values.items()):
        y = rows.y(row)
        end = rows.left
        if drawable(value):
            end = across.at(value)
            width = max(end - rows.left, 0.5)
            shape = {"x": rows.left, "y": y, "width": width, "height": rows.thickness, "rx": min(2.0, rows.pitch / 4)}
            body.append(element("rect", tip(f"{name}: {axis.form(value)}"), class_="s0", **shape))
        if rows.pitch >= FONT + 2:
            written = axis.form(value) if drawable(value) else "–"
            body.append(text(written, end + 6, y + rows.thickness / 2 + 4, class_="strong"))
    return figure(title, body, rows.bottom + 30)


def stacked_bars(title: str, values: Mapping[str, Sequence[float]], *, parts: Sequence[str], axis: Axis) -> str:
    """Draw one bar for each name, made of parts: who holds what.

    Args:
        title: for readers who cannot see it.
        values: by name, the amounts of the parts, not negative.
        parts: names of the parts.
        axis: value axis from 0.

    Returns:
        an SVG element.
    """
    if not any(v > 0 for row in values.values() for v in row):
        return empty(title, "nothing to show")
    head, top = legend(parts, top=0)
    rows = lay_rows(list(values), top=top + 6)
    across = Scale(0, axis.ticks[-1], rows.left, WIDTH - RIGHT)
    body = [head, _value_lines(axis, across, rows), *rows.labels()]
    for row, (name, amounts) in enumerate(values.items()):
        before = 0.0
        for i, (part, amount) in enumerate(zip(parts, amounts, strict=True)):
            if amount <= 0:
                continue
            x, end = across.at(before), across.at(before + amount)
            shape = {"x": x, "y": rows.y(row), "width": end - x, "height": rows.thickness}
            class_ = f"piece {colour(i)}" if rows.pitch > 8 else colour(i)
            body.append(element("rect", tip(f"{name}, {part}: {axis.form(amount)}"), class_=class_, **shape))
            before += amount
    return figure(title, body, rows.bottom + 30)


def _value_lines(axis: Axis, across: Scale, rows: Rows) -> str:
    parts: list[str] = []
    for tick in axis.ticks:
        x = across.at(tick)
        parts.append(
            element("line", x1=x, x2=x, y1=rows.top, y2=rows.bottom + 4, class_="axis" if tick == 0 else "grid")
        )
        parts.append(text(axis.form(tick), x, rows.bottom + 20, text_anchor="middle"))
    return "".join(parts)
