"""Dots on a common axis by name: how several figures of one client lie to one another, with intervals where known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roughfed.report.bars import Rows, lay_rows
from roughfed.report.scale import Scale, drawable, finite
from roughfed.report.svg import WIDTH, Axis, colour, element, empty, figure, legend, text, tip

RADIUS = 4.5
RIGHT = 26  # half of the last label of the axis

Interval = tuple[float, float]


def dot_rows(
    title: str,
    values: Mapping[str, Mapping[str, float | None]],
    *,
    series: Sequence[str],
    axis: Axis,
    intervals: Mapping[str, Interval] | None = None,
) -> str:
    """Draw a row for each name with a dot for each figure, joined by a thin line.

    Args:
        title: for readers who cannot see it.
        values: by row name, a figure by series; what is None or missing has no dot.
        series: names of the figures, in the order of their colours.
        axis: value axis; what lies beyond is drawn at the edge.
        intervals: row name -> (low, high), drawn as a bar behind the dots.

    Returns:
        an SVG element.
    """
    if not any(finite(row.values()) for row in values.values()):
        return empty(title, "not measured")
    head, top = legend(series, top=0) if len(series) > 1 else ("", 0.0)
    rows = lay_rows(list(values), top=top + 8)
    across = Scale(axis.ticks[0], axis.ticks[-1], rows.left + 4, WIDTH - RIGHT)
    body = [head, _grid(axis, across, rows), *rows.labels()]
    for row, (name, figures) in enumerate(values.items()):
        y = rows.y(row) + rows.thickness / 2
        if intervals and name in intervals:
            body.append(_bar(name, intervals[name], (across, y, rows.thickness), axis))
        body.append(_row(name, [figures.get(each) for each in series], series, (across, y, rows.pitch), axis))
    return figure(title, body, rows.bottom + 30)


def _grid(axis: Axis, across: Scale, rows: Rows) -> str:
    parts: list[str] = []
    for tick in axis.ticks:
        x = across.at(tick)
        kind = "axis" if tick == 0 else "grid"
        parts.append(element("line", x1=x, x2=x, y1=rows.top, y2=rows.bottom + 4, class_=kind))
        parts.append(text(axis.form(tick), x, rows.bottom + 20, text_anchor="middle"))
    return "".join(parts)


def _bar(name: str, interval: Interval, place: tuple[Scale, float, float], axis: Axis) -> str:
    across, y, thickness = place
    low, high = interval
    if not (drawable(low) and drawable(high)):
        return ""
    start, end = across.at(low), across.at(high)
    said = f"{name}: {axis.form(low)} to {axis.form(high)}"
    height = min(thickness * 0.5, 8.0)
    shape = {"x": start, "y": y - height / 2, "width": max(end - start, 1.0), "height": height, "rx": height / 2}
    return element("rect", tip(said), class_=f"{colour(0)} wash", **shape)


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
