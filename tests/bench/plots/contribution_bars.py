"""How well methods tell what clients are worth, as bars: the result of `python -m tests.bench contribution`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from tests.bench.plots.svg import Axis, bars, standalone

UTILITY = "balanced-accuracy"


def contribution_svg(result: Mapping[str, object]) -> str:
    """Rank correlation of each method's totals with the exact Shapley values, and how many models it evaluated.

    Args:
        result: of the bench.

    Returns:
        an SVG document; a correlation below 0 is drawn as 0.
    """
    methods = cast("Mapping[str, Mapping[str, Mapping[str, Any]]]", result["methods"])
    rows = {f"{name} ({row[UTILITY]['evaluations']:.0f})": row[UTILITY]["spearman"] for name, row in methods.items()}
    title = "Spearman correlation with the exact Shapley value; in brackets, evaluations a round"
    axis = Axis([0, 0.2, 0.4, 0.6, 0.8, 1.0], lambda value: f"{value:.2f}")
    return standalone(bars(title, {name: max(0.0, value) for name, value in rows.items()}, axis=axis))
