"""Reliability diagrams: how often the model is right against how sure it is (Guo et al., ICML 2017, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence

from roughfed.measures import Reliability
from roughfed.report.lines import RIGHT
from roughfed.report.scale import Scale, number, percent
from roughfed.report.svg import FONT, WIDTH, Axis, element, empty, figure, legend, text, tip

PLOT_HEIGHT = 230
COUNTS_HEIGHT = 44
GAP = 10
SHARE = Axis((0.0, 0.25, 0.5, 0.75, 1.0), percent)


def reliability_diagram(title: str, bins: Sequence[Reliability]) -> str:
    """Draw a column for each bin of confidence, the diagonal that it should reach, and how many examples it has.

    Args:
        title: for readers who cannot see it.
        bins: those that have examples.

    Returns:
        an SVG element.
    """
    if not bins:
        return empty(title, "not measured")
    head, top = legend(("right", "surer than right", "less sure than right"), top=0)
    left, top = SHARE.label_width, top + 8
    foot = top + PLOT_HEIGHT
    across, down = Scale(0, 1, left, WIDTH - RIGHT), Scale(0, 1, foot, top)
    line = {"x1": across.start, "y1": down.start, "x2": across.end, "y2": down.end}
    body = [head, _grid(across, down)]
    body += [_column(b, across, down) for b in bins]
    body += [element("line", "", class_="diagonal", **line), *_counts(bins, across, top=foot + GAP)]
    end = foot + GAP + COUNTS_HEIGHT
    for tick in SHARE.ticks:
        anchor = "start" if tick == 0 else "end" if tick == 1 else "middle"
        body.append(text(percent(tick), across.at(tick), end + 18, text_anchor=anchor))
    middle = (across.start + across.end) / 2
    body.append(text("confidence of the model", middle, end + 24 + FONT, text_anchor="middle", class_="quiet"))
    return figure(title, body, end + 44)


def _grid(across: Scale, down: Scale) -> str:
    parts: list[str] = []
    for tick in SHARE.ticks:
        y = down.at(tick)
        class_ = "axis" if tick == 0 else "grid"
        parts.append(element("line", x1=across.start, x2=across.end, y1=y, y2=y, class_=class_))
        parts.append(text(percent(tick), across.start - 8, y + 4, text_anchor="end"))
    return "".join(parts)


def _column(b: Reliability, across: Scale, down: Scale) -> str:
    """How often it is right, and what is missing to, or beyond, its confidence."""
    words = f"{percent(b.confidence)} sure, {percent(b.accuracy)} right, {number(b.count)} examples"
    place = {"x": across.at(b.low) + 1, "width": across.at(b.high) - across.at(b.low) - 2}
    low, high = sorted((b.accuracy, b.confidence))
    solid = {"y": down.at(b.accuracy), "height": down.start - down.at(b.accuracy)}
    gap = {"y": down.at(high), "height": max(down.at(low) - down.at(high), 0.5)}
    missing = "s1" if b.confidence > b.accuracy else "s2"
    return element("rect", tip(words), class_="s0", **place, **solid) + element(
        "rect", tip(words), class_=f"gap {missing}", **place, **gap
    )


def _counts(bins: Sequence[Reliability], across: Scale, *, top: float) -> list[str]:
    """Small columns below: where the examples are."""
    most, total = max(b.count for b in bins), sum(b.count for b in bins)
    down = Scale(0, most, top + COUNTS_HEIGHT, top)
    parts = [element("line", x1=across.start, x2=across.end, y1=down.start, y2=down.start, class_="axis")]
    for b in bins:
        words = f"{number(b.count)} examples, {percent(b.count / total)} of all"
        place = {"x": across.at(b.low) + 1, "width": across.at(b.high) - across.at(b.low) - 2}
        height = max(down.start - down.at(b.count), 0.5)
        parts.append(element("rect", tip(words), class_="amount", y=down.start - height, height=height, **place))
    parts.append(text("count", across.start - 8, top + COUNTS_HEIGHT / 2 + 4, text_anchor="end", class_="quiet"))
    return parts
