"""Strip plots: which of a few kinds each row is, column by column; by colour and, where there is room, in writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roughfed.report.bars import Rows, lay_rows
from roughfed.report.heat import RIGHT, column_names
from roughfed.report.svg import FONT, WIDTH, clip, colour, element, empty, figure, legend, text, tip


def strip_plot(
    title: str, values: Mapping[str, Sequence[str | None]], *, kinds: Sequence[str], columns: Sequence[str]
) -> str:
    """Draw one row of coloured cells for each name.

    Args:
        title: for readers who cannot see it.
        values: by row name, a kind for each column; None is left blank.
        kinds: all of them, in the order of their colours.
        columns: names of the columns.

    Returns:
        an SVG element.
    """
    if not columns or not any(kind is not None for row in values.values() for kind in row):
        return empty(title, "nothing to show")
    head, top = legend(kinds, top=0)
    rows = lay_rows(list(values), top=top + 6)
    pitch = (WIDTH - RIGHT - rows.left) / len(columns)
    index = {kind: i for i, kind in enumerate(kinds)}
    body = [head, *rows.labels()]
    for row, (name, cells) in enumerate(values.items()):
        for column, kind in enumerate(cells):
            said = f"{name}, {columns[column]}: {'nowhere' if kind is None else kind}"
            body.append(_cell(kind, said, rows, (row, column, pitch), index))
    body.append(column_names(columns, left=rows.left, pitch=pitch, y=rows.bottom + 16))
    return figure(title, body, rows.bottom + 26)


def _cell(kind: str | None, said: str, rows: Rows, place: tuple[int, int, float], index: Mapping[str, int]) -> str:
    row, column, pitch = place
    gap = 1.0 if min(pitch, rows.pitch) > 8 else 0.0
    x, y = rows.left + column * pitch, rows.top + row * rows.pitch
    shape = {"x": x, "y": y, "width": pitch - gap, "height": rows.pitch - gap}
    if kind is None:
        return element("rect", tip(said), class_="blank", **shape)
    cell = element("rect", tip(said), class_=f"{colour(index[kind])} wash", **shape)
    written = clip(kind, 8)
    if pitch < len(written) * FONT * 0.6 + 4 or rows.pitch < FONT + 4:
        return cell
    return cell + text(written, x + pitch / 2, y + rows.pitch / 2 + 4, text_anchor="middle", class_="on-light")
