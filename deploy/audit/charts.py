"""Drawings of an audit that no other page needs: bars against a guess, and images side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roughfed.report.bars import RIGHT, lay_rows
from roughfed.report.scale import Format, Scale, ticks
from roughfed.report.svg import FONT, WIDTH, clip, element, empty, figure, text, tip

STEPS = 10  # shades of plot.css
ACROSS = 4  # images in a row
GAP = 14.0


def guess_bars(title: str, values: Mapping[str, tuple[float, float]], *, form: Format) -> str:
    """A bar for each name, and across it the line of guessing.

    Args:
        title: for readers who cannot see it.
        values: by name, (value, the guess's value), not negative.
        form: how values are written.

    Returns:
        an SVG element.
    """
    if not values:
        return empty(title, "not measured")
    rows = lay_rows(list(values), top=4)
    marks = ticks(0, max(max(pair) for pair in values.values()))
    across = Scale(0, marks[-1], rows.left, WIDTH - RIGHT - 60)
    body = list(rows.labels())
    for mark in marks:
        x = across.at(mark)
        body.append(element("line", x1=x, x2=x, y1=rows.top, y2=rows.bottom, class_="axis" if mark == 0 else "grid"))
        body.append(text(f"{mark:g}", x, rows.bottom + 16, text_anchor="middle"))
    for row, (name, (value, guess)) in enumerate(values.items()):
        y, end, line = rows.y(row), across.at(value), across.at(guess)
        words = f"{name}: {form(value)}, guessing {form(guess)}"
        shape = {"x": rows.left, "y": y, "width": max(end - rows.left, 0.5), "height": rows.thickness, "rx": 2.0}
        body.append(element("rect", tip(words), class_="s0", **shape))
        body.append(element("rect", tip(words), class_="s1", x=line - 1.5, y=y - 2, width=3, height=rows.thickness + 4))
        body.append(text(form(value), max(end, line) + 8, y + rows.thickness / 2 + 4, class_="strong"))
    key = element("rect", x=rows.left, y=rows.bottom + 28, width=3, height=12, class_="s1")
    body.append(key + text("guessing with the same knowledge", rows.left + 10, rows.bottom + 38, class_="quiet"))
    return figure(title, body, rows.bottom + 46)


def pictures(title: str, images: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Images side by side, each with its name below.

    Args:
        title: for readers who cannot see it.
        images: by name, rows of pixels 0..1, faint to full.

    Returns:
        an SVG element.
    """
    if not images:
        return empty(title, "nothing to show")
    side = (WIDTH - GAP * (ACROSS - 1)) / ACROSS
    body: list[str] = []
    for at, (name, rows) in enumerate(images.items()):
        x, y = (at % ACROSS) * (side + GAP), (at // ACROSS) * (side + FONT + GAP)
        body.append(_picture(rows, x, y, side) + text(clip(name, 24), x, y + side + FONT + 2))
    return figure(title, body, ((len(images) - 1) // ACROSS + 1) * (side + FONT + GAP))


def _picture(rows: Sequence[Sequence[float]], x: float, y: float, side: float) -> str:
    """One path a shade; a pixel is a unit square of its own coordinates."""
    shades: dict[int, list[str]] = {}
    for down, row in enumerate(rows):
        for across, value in enumerate(row):
            shades.setdefault(round(min(max(value, 0), 1) * STEPS), []).append(f"M{across} {down}h1v1h-1z")
    scale = side / max(len(rows), *(len(row) for row in rows))
    paths = (element("path", d="".join(parts), class_=f"heat h{shade}") for shade, parts in sorted(shades.items()))
    return element("g", "".join(paths), transform=f"translate({x:.2f} {y:.2f}) scale({scale:.4f})")
