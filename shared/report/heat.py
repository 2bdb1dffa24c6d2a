"""Heat maps: a value between two bounds for each row and column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from roughfed.report.bars import lay_rows
from roughfed.report.scale import Format, drawable
from roughfed.report.svg import FONT, WIDTH, clip, element, empty, figure, text, tip

RIGHT = 14
STEPS = 10  # shades
DARK = 8  # from this shade on, light text reads better than dark


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
    if not values or not columns or not high > 0:
        return empty(title, "nothing to show")
    rows = lay_rows(list(values), top=4)
    pitch = (WIDTH - RIGHT - rows.left) / len(columns)
    gap = 1.0 if min(pitch, rows.pitch) > 8 else 0.0
    body = list(rows.labels())
    for row, (name, cells) in enumerate(values.items()):
        y = rows.top + row * rows.pitch
        for column, cell in enumerate(cells):
            written = form(cell) if drawable(cell) else "no value"
            shade = round(min(max(cell / high, 0), 1) * STEPS) if drawable(cell) else None
            x = rows.left + column * pitch
            shape = {"x": x, "y": y, "width": pitch - gap, "height": rows.pitch - gap}
            class_ = "blank" if shade is None else f"heat h{shade}"
            body.append(element("rect", tip(f"{name}, {columns[column]}: {written}"), class_=class_, **shape))
            room = pitch >= len(written) * FONT * 0.6 + 4 and rows.pitch >= FONT + 4
            if shade is not None and room and (shade or faint):
                ink = "on-dark" if shade >= DARK else "on-light"
                body.append(
                    text(written, x + (pitch - gap) / 2, y + rows.pitch / 2 + 4, text_anchor="middle", class_=ink)
                )
    body.append(_column_names(columns, left=rows.left, pitch=pitch, y=rows.bottom + 16))
    return figure(title, body, rows.bottom + 26)


def _column_names(columns: Sequence[str], *, left: float, pitch: float, y: float) -> str:
    """The names, as many as fit side by side."""
    longest = min(max(len(name) for name in columns), 12)
    every = math.ceil((longest * FONT * 0.57 + 6) / pitch)
    shown = range(0, len(columns), every)
    return "".join(text(clip(columns[i], 12), left + (i + 0.5) * pitch, y, text_anchor="middle") for i in shown)
