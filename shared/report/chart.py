"""Charts of a page: the data that `roughfed.charts` draws, and the same numbers as a table, which needs no script."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from roughfed.report.layout import safe
from roughfed.report.scale import drawable, number, percent, seconds, size
from roughfed.report.tables import UNKNOWN, table

Kind = Literal["lines", "columns", "bars", "cells", "dots", "reliability"]
Form = Literal["number", "count", "percent", "whole", "seconds", "size"]
Value = float | str | None

FORMS: Mapping[Form, Callable[[float], str]] = {
    "number": lambda value: number(float(f"{value:.3g}")),
    "count": number,
    "percent": percent,
    "whole": lambda value: f"{value * 100:.0f}",
    "seconds": seconds,
    "size": size,
}
"""How values are written; `charts.js` has the same names."""

MOST_ROWS = 100
"""Rows of the table below a chart; the summary file has everything."""


def figure(
    caption: str,
    kind: Kind,
    x: Sequence[str | int],
    series: Mapping[str, Sequence[Value]],
    form: Form = "number",
    **look: object,
) -> str:
    """A chart with its caption and its numbers.

    Args:
        caption: what it shows; also for readers who cannot see it.
        kind: of the drawing, see `charts.js`.
        x: rounds or names.
        series: by name, one value for each x; what is None, not finite or beyond all paper is left out.
        form: how values are written.
        look: what else the kind takes (`share`, `top`, `marks`, ...), JSON values.

    Returns:
        markup; a sentence in place of the drawing where nothing was measured.
    """
    known = {name: [_value(v) for v in values] for name, values in series.items()}
    title = f"<figcaption>{safe(caption)}</figcaption>"
    if not any(v is not None for values in known.values() for v in values):
        return f'<figure class="chart">{title}<p class="quiet">not measured</p></figure>'
    drawing = {"kind": kind, "name": caption, "x": list(x), "format": form, **look}
    drawing["series"] = [{"name": name, "values": values} for name, values in known.items()]
    listed = _numbers(caption, kind, x, known, FORMS[form])
    return f'<figure class="chart">{title}{data(drawing)}{listed}</figure>'


def data(content: object) -> str:
    """JSON in an element that no browser runs, and that no text in it can leave."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json">{text}</script>'


def _value(value: Value) -> Value:
    """Six digits draw any line."""
    if isinstance(value, str):
        return value
    return float(f"{value:.6g}") if drawable(value) else None


def _numbers(
    caption: str,
    kind: Kind,
    x: Sequence[str | int],
    series: Mapping[str, Sequence[Value]],
    form: Callable[[float], str],
) -> str:
    """The table: cells as they lie, else a row for each x."""

    def written(value: Value) -> str:
        return value if isinstance(value, str) else UNKNOWN if value is None else form(value)

    if kind == "cells":
        head, rows = ("", *map(str, x)), [(name, *map(written, values)) for name, values in series.items()]
    else:
        named = "round" if kind in ("lines", "columns") else ""
        columns = [list(map(written, values)) for values in series.values()]
        head, rows = (named, *series), [(str(at), *(c[i] for c in columns)) for i, at in enumerate(x)]
    listed = table(head, rows, numeric=range(1, len(head)), caption=caption, most=MOST_ROWS)
    return f'<details class="numbers"><summary>As a table</summary>{listed}</details>'
