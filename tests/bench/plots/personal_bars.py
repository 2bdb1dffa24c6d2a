"""Models of one's own against the common one and against none: a row of dots for each method and division."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from roughfed.errors import ConfigError
from roughfed.report.scale import drawable, percent
from tests.bench.plots.svg import Axis, dot_rows, standalone

SERIES: Mapping[str, str] = {"worst tenth": "worst10", "mean": "mean", "best tenth": "best10"}
"""Name in the legend -> figure."""

STEP = 0.1
LONG = "FedAvg + "
"""Left out of names, for which there is little room."""


def personal_svg(result: Mapping[str, object]) -> str:
    """Accuracy over the clients, by method, under each division.

    Args:
        result: what `python -m tests.bench personal` gives.

    Returns:
        an SVG file.

    Raises:
        ConfigError: no result of that bench.
    """
    found = result.get("results")
    if result.get("bench") != "personal" or not isinstance(found, dict) or not found:
        cure = "give what python -m tests.bench personal --out wrote"
        raise ConfigError("this is no result of the personal bench", key="--drawn", cure=cure)
    tables = cast("dict[str, dict[str, dict[str, Any]]]", found)
    rows = {
        f"{row.removeprefix(LONG)}, {alpha}": {shown: _share(figures.get(name)) for shown, name in SERIES.items()}
        for alpha, table in tables.items()
        for row, figures in table.items()
    }
    known = [share for row in rows.values() for share in row.values() if share is not None]
    low = int(min(known, default=0.0) / STEP)
    axis = Axis([round(STEP * tick, 1) for tick in range(low, 11)], percent)
    return standalone(
        dot_rows("Accuracy of the clients by method and Dirichlet alpha", rows, series=[*SERIES], axis=axis)
    )


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and drawable(value) else None
