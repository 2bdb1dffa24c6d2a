"""Pictures of the documents as SVG text: elements, the common frame, rows of bars and of dots.

They are files of their own, light and dark, without scripts; pages draw with `roughfed.charts`. Colours are classes
(`s0`..`s9` for series) of svg.css, and the variables of charts.css; a picture is drawn 640 units wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roughfed import charts
from roughfed.report.layout import safe
from roughfed.report.scale import Format, drawable, finite

WIDTH = 640
NUM_COLOURS = 10  # after that they repeat
FONT = 13  # px, as in svg.css; a character is about 0.55 of it wide
LEGEND_ROW = 20
STEPS = 10  # shades
DARK = 8  # from this shade on, light text reads better than dark
NAME_CHARACTERS = 22
RIGHT = 14
FIT_HEIGHT = 520.0  # rows shrink to fit into it, between the two pitches
MIN_PITCH, MAX_PITCH = 3.0, 26.0
RADIUS = 4.5
DOTS_RIGHT = 26  # half of the last label of the axis

Attribute = str | float


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight line from values `low..high` to positions `start..end` (`end` may be the smaller one)."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Position of a value; values outside are drawn at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def element(name: str, content: str = "", **attributes: Attribute) -> str:
    """One XML element. `content` is markup and must already be escaped; attribute values are escaped here.

    A trailing underscore of an attribute's name is dropped (`class_`), others become hyphens (`text_anchor`).
    """
    parts = [f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items()]
    return f"<{name}{''.join(parts)}>{content}</{name}>" if content else f"<{name}{''.join(parts)}/>"


def text(content: str, x: float, y: float, **attributes: Attribute) -> str:
    """One line of text, escaped."""
    return element("text", safe(content), x=x, y=y, **attributes)


def tip(content: str) -> str:
    """The tooltip of the element it is put into."""
    return element("title", safe(content))


def clip(content: str, characters: int) -> str:
    """The text, shortened in its middle: names of machines differ at both ends."""
    if len(content) <= characters:
        return content
    tail = (characters - 1) // 2
    return content[: characters - 1 - tail] + "…" + content[len(content) - tail :]


def figure(title: str, body: Sequence[str], height: float) -> str:
    """The chart around its body: scales with the page, read out by its title."""
    return element(
        "svg",
        tip(title) + "".join(body),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height:g}",
        class_="plot",
        role="img",
        aria_label=title,
    )


def standalone(svg: str) -> str:
    """A chart with its style sheet inside, to be saved as a file of its own."""
    return svg.replace("<title>", f"<style>{plot_css()}</style><title>", 1)


def plot_css() -> str:
    """The variables of the charts and the classes of the pictures."""
    palette, _, _ = charts.text(charts.CSS).partition(".plot { --plot-background")
    return palette + Path(__file__).with_name("svg.css").read_text(encoding="utf-8")


def empty(title: str, message: str) -> str:
    """A chart without data says so."""
    return figure(title, [text(message, 0, 18, class_="quiet")], 30)


def legend(names: Sequence[str], *, top: float, left: float = 0) -> tuple[str, float]:
    """Coloured squares with names, wrapped to the width.

    Returns:
        (markup, height in units); nothing and 0 without names.
    """
    if not names:
        return "", 0.0
    parts: list[str] = []
    x, row = left, 0
    for i, name in enumerate(names):
        label = clip(name, 24)
        width = 32 + len(label) * FONT * 0.62
        if x + width > WIDTH and x > left:
            x, row = left, row + 1
        y = top + row * LEGEND_ROW
        parts.append(element("rect", x=x, y=y + 2, width=11, height=11, rx=2.5, class_=colour(i)))
        parts.append(text(label, x + 16, y + 12))
        x += width
    return "".join(parts), (row + 1) * LEGEND_ROW + 4.0


def colour(index: int) -> str:
    """Class of the index-th series."""
    return f"s{index % NUM_COLOURS}"


@dataclass(frozen=True, slots=True)
class Axis:
    """A value axis: its tick marks in increasing order, and how they are written."""

    ticks: Sequence[float]
    form: Format

    @property
    def label_width(self) -> float:
        """Units that the widest label needs."""
        return max(len(self.form(t)) for t in self.ticks) * FONT * 0.62 + 10


def _value(value: Attribute) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else safe(value)


def corner(right: float, top: float, *, dark: bool, why: str = "marked") -> str:
    """A mark in the upper right corner of a cell, that stands out from a dark shade or a faint one."""
    return element("path", tip(why), d=f"M{right:.1f} {top:.1f}h-8l8 8z", class_="on-dark" if dark else "on-light")


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


def _value_lines(axis: Axis, across: Scale, rows: Rows) -> str:
    parts: list[str] = []
    for tick in axis.ticks:
        x = across.at(tick)
        parts.append(
            element("line", x1=x, x2=x, y1=rows.top, y2=rows.bottom + 4, class_="axis" if tick == 0 else "grid")
        )
        parts.append(text(axis.form(tick), x, rows.bottom + 20, text_anchor="middle"))
    return "".join(parts)


def dot_rows(
    title: str,
    values: Mapping[str, Mapping[str, float | None]],
    *,
    series: Sequence[str],
    axis: Axis,
) -> str:
    """Draw a row for each name with a dot for each figure, joined by a thin line.

    Args:
        title: for readers who cannot see it.
        values: by row name, a figure by series; what is None or missing has no dot.
        series: names of the figures, in the order of their colours.
        axis: value axis; what lies beyond is drawn at the edge.

    Returns:
        an SVG element.
    """
    if not any(finite(row.values()) for row in values.values()):
        return empty(title, "not measured")
    head, top = legend(series, top=0) if len(series) > 1 else ("", 0.0)
    rows = lay_rows(list(values), top=top + 8)
    across = Scale(axis.ticks[0], axis.ticks[-1], rows.left + 4, WIDTH - DOTS_RIGHT)
    body = [head, _value_lines(axis, across, rows), *rows.labels()]
    for row, (name, figures) in enumerate(values.items()):
        y = rows.y(row) + rows.thickness / 2
        body.append(_row(name, [figures.get(each) for each in series], series, (across, y, rows.pitch), axis))
    return figure(title, body, rows.bottom + 30)


def _row(
    name: str,
    figures: Sequence[float | None],
    series: Sequence[str],
    place: tuple[Scale, float, float],
    axis: Axis,
) -> str:
    across, y, pitch = place
    known = finite(figures)
    parts: list[str] = []
    if len(known) > 1:
        x1, x2 = across.at(min(known)), across.at(max(known))
        parts.append(element("line", x1=x1, x2=x2, y1=y, y2=y, class_="axis"))
    for i, (what, value) in enumerate(zip(series, figures, strict=True)):
        if drawable(value):
            said = f"{name}, {what}: {axis.form(value)}" if len(series) > 1 else f"{name}: {axis.form(value)}"
            dot = {"cx": across.at(value), "cy": y, "r": min(RADIUS, pitch * 0.4)}
            parts.append(element("circle", tip(said), class_=f"dot {colour(i)}", **dot))
    return "".join(parts)
