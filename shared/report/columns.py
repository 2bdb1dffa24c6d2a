"""Stacked columns by round, and single bars by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roughfed.report.lines import RIGHT, value_grid, x_labels
from roughfed.report.scale import Scale, finite
from roughfed.report.svg import WIDTH, Axis, colour, element, empty, figure, legend, tip

PLOT_HEIGHT = 200
MAX_COLUMN = 46


def stacked_columns(
    title: str, series: Mapping[str, Sequence[float]], *, x: Sequence[int], axis: Axis, x_name: str = "round"
) -> str:
    """Draw amounts that add up, one column for each x.

    Args:
        title: for readers who cannot see it.
        series: by name, one non-negative value for each x; the first lies at the bottom.
        x: consecutive increasing integers.
        axis: value axis from 0.
        x_name: what x counts.

    Returns:
        an SVG element.
    """
    if not any(v > 0 for values in series.values() for v in finite(values)):
        return empty(title, "nothing to show")
    head, top = legend(list(series), top=0)
    top += 8
    left = axis.label_width
    down = Scale(0, axis.ticks[-1], top + PLOT_HEIGHT, top)
    pitch = (WIDTH - RIGHT - left - 6) / (x[-1] - x[0] + 1)
    across = Scale(x[0] - 0.5, x[-1] + 0.5, left + 6, WIDTH - RIGHT)
    width = min(pitch * 0.78, MAX_COLUMN)
    body = [head, value_grid(axis, down, left=left), x_labels(x, across, y=top + PLOT_HEIGHT + 18, name=x_name)]
    for column, at in enumerate(x):
        below = 0.0
        for i, (name, values) in enumerate(series.items()):
            if (value := values[column]) <= 0:
                continue
            y, foot = down.at(below + value), down.at(below)
            label = f"{name}, {x_name} {at}: {axis.form(value)}"
            place = {"x": across.at(at) - width / 2, "y": y, "width": width, "height": foot - y}
            body.append(element("rect", tip(label), class_=f"piece {colour(i)}" if width > 6 else colour(i), **place))
            below += value
    return figure(title, body, top + PLOT_HEIGHT + 42)
