"""Line charts: values by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roughfed.report.scale import Scale, drawable, finite, ticks
from roughfed.report.svg import FONT, WIDTH, Axis, colour, element, empty, figure, legend, text, tip

PLOT_HEIGHT = 220
RIGHT = 14
MAX_DOTS = 60  # beyond that, dots would cover the line; invisible targets keep the tooltips


def line_chart(
    title: str, series: Mapping[str, Sequence[float | None]], *, x: Sequence[int], axis: Axis, x_name: str = "round"
) -> str:
    """Draw curves over a common x.

    Args:
        title: for readers who cannot see it.
        series: by name, one value for each x; None and values that are not finite leave a gap.
        x: increasing integers.
        axis: value axis; values beyond its ticks are drawn at the edge.
        x_name: what x counts.

    Returns:
        an SVG element.
    """
    if not any(finite(values) for values in series.values()):
        return empty(title, "not measured")
    head, top = legend(list(series), top=0)
    top += 8
    left = axis.label_width
    down = Scale(axis.ticks[0], axis.ticks[-1], top + PLOT_HEIGHT, top)
    first, last = (x[0], x[-1]) if x[-1] > x[0] else (x[0] - 1, x[0] + 1)
    across = Scale(first, last, left + 6, WIDTH - RIGHT)
    body = [head, value_grid(axis, down, left=left), x_labels(x, across, y=top + PLOT_HEIGHT + 18, name=x_name)]
    for i, (name, values) in enumerate(series.items()):
        points = [(at, v) for at, v in zip(x, values, strict=True) if drawable(v)]
        body.append(_curve(x, values, across, down, class_=f"line {colour(i)}"))
        for at, v in points:
            dot = element(
                "circle", tip(f"{name}, {x_name} {at}: {axis.form(v)}"), **_dot(across.at(at), down.at(v), i, len(x))
            )
            body.append(dot)
    return figure(title, body, top + PLOT_HEIGHT + 42)


def value_grid(axis: Axis, down: Scale, *, left: float) -> str:
    """Horizontal lines at the ticks with their labels."""
    parts: list[str] = []
    for tick in axis.ticks:
        y = down.at(tick)
        parts.append(element("line", x1=left, x2=WIDTH - RIGHT, y1=y, y2=y, class_="axis" if tick == 0 else "grid"))
        parts.append(text(axis.form(tick), left - 8, y + 4, text_anchor="end"))
    return "".join(parts)


def x_labels(x: Sequence[int], across: Scale, *, y: float, name: str) -> str:
    """Integers below the plot, as many as fit, and what they count."""
    if len(x) <= 12 and x[-1] - x[0] < 12:
        marks = list(x)
    else:
        marks = [
            int(t) for t in ticks(x[0], x[-1], about=8, step_of=(1, 2, 5, 10)) if x[0] <= t <= x[-1] and t == int(t)
        ]
    parts = [text(str(m), across.at(m), y, text_anchor="middle") for m in marks]
    parts.append(text(name, (across.start + across.end) / 2, y + FONT + 6, text_anchor="middle", class_="quiet"))
    return "".join(parts)


def _curve(x: Sequence[int], values: Sequence[float | None], across: Scale, down: Scale, *, class_: str) -> str:
    """One path; the pen is lifted over gaps."""
    steps: list[str] = []
    pen_up = True
    for at, v in zip(x, values, strict=True):
        if not drawable(v):
            pen_up = True
            continue
        steps.append(f"{'M' if pen_up else 'L'}{across.at(at):.1f} {down.at(v):.1f}")
        pen_up = False
    return element("path", d="".join(steps), class_=class_)


def _dot(cx: float, cy: float, index: int, num_x: int) -> dict[str, str | float]:
    if num_x <= MAX_DOTS:
        return {"cx": cx, "cy": cy, "r": 4 if num_x <= 12 else 3, "class_": f"dot {colour(index)}"}
    return {"cx": cx, "cy": cy, "r": 5, "class_": "target"}
