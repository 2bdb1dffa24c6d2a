"""How cost grows: a small picture for each thing that grows, both axes logarithmic, a line for each figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from roughfed.errors import ConfigError
from tests.bench.plots.svg import WIDTH, Scale, colour, element, figure, legend, standalone, text, tip

FIGURES = {"server_cpu_s": "server, processor s", "agent_cpu_s": "agent, processor s", "seconds": "seconds",
           "server_mib": "server, MiB / 100", "agent_mib": "agent, MiB / 100"}  # fmt: skip
SHRUNK, MILLION = 100.0, 1e6
LEFT, RIGHT, PANEL, GAP = 64.0, 16.0, 190.0, 44.0


def growth_svg(result: Mapping[str, object]) -> str:
    """Draw what `python -m tests.bench growth` gives.

    Raises:
        ConfigError: no result of that bench.
    """
    lines = result.get("lines")
    if result.get("bench") != "growth" or not isinstance(lines, dict) or not lines:
        cure = "give what python -m tests.bench growth --out wrote"
        raise ConfigError("this is no result of the growth bench", key="--drawn", cure=cure)
    panels = cast("dict[str, dict[str, Any]]", lines)
    used = [name for name in FIGURES if any(name in line["points"][0] for line in panels.values())]
    head, top = legend([FIGURES[name] for name in used], top=0)
    body = [head]
    for along, line in panels.items():
        body.append(_panel(along, line["points"], used, top + 8))
        top += PANEL + GAP
    return standalone(figure("Cost of a round by what grows", body, top))


def _panel(along: str, points: Sequence[Mapping[str, float]], used: Sequence[str], top: float) -> str:
    shown = {name: [(p["at"], _shown(name, p[name])) for p in points] for name in used if name in points[0]}
    values = [y for line in shown.values() for _, y in line if y > 0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    across = Scale(math.log10(points[0]["at"]), math.log10(points[-1]["at"]), LEFT, WIDTH - RIGHT)
    up = Scale(low, max(high, low + 1), top + PANEL, top + 16)
    parts = [text(along, 0, top + 4, class_="strong")]
    for power in range(low, max(high, low + 1) + 1):
        y = up.at(power)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(text(f"{10.0**power:g}", LEFT - 8, y + 4, text_anchor="end"))
    for point in points:
        x, anchor = across.at(math.log10(point["at"])), "end" if point is points[-1] else "middle"
        parts.append(text(_count(point["at"]), x, top + PANEL + 18, text_anchor=anchor))
    for name, line in shown.items():
        at = [(across.at(math.log10(x)), up.at(math.log10(y)), x, y) for x, y in line if y > 0]
        hue = colour(used.index(name))
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y, _, _ in at)
        parts.append(element("path", d=path, class_=hue, style="fill:none;stroke-width:2"))
        parts += [element("circle", tip(f"{FIGURES[name]} at {x0:,.0f}: {y0:.3g}"), cx=x, cy=y, r=3.5, class_=hue)
                  for x, y, x0, y0 in at]  # fmt: skip
    return "".join(parts)


def _count(value: float) -> str:
    return f"{value / MILLION:g} M" if value >= MILLION / 10 else f"{value:,.0f}"


def _shown(name: str, value: float) -> float:
    return value / SHRUNK if name.endswith("_mib") else value
