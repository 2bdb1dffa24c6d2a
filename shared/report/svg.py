"""Elements and the common frame of the charts.

Charts are text in, text out: no plotting library (the usual one brings ten packages and knows no dark mode). Colours
are classes (`s0`..`s9` for series), set in `plot.css` for light and dark; a chart is drawn 640 units wide.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from roughfed.report.scale import Format

WIDTH = 640
NUM_COLOURS = 10  # after that they repeat
FONT = 13  # px, as in plot.css; a character is about 0.55 of it wide
LEGEND_ROW = 20

# XML 1.0 has no place for these, not even escaped; and marks that turn the direction of text could disguise a name.
UNPRINTABLE = re.compile(
    "[^\\t\\n\\r\\x20-\\x7e\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]|[\\u202a-\\u202e\\u2066-\\u2069]"
)

Attribute = str | float


def safe(content: str) -> str:
    """Any text as XML or HTML text or attribute value: escaped, what cannot be shown replaced."""
    return escape(UNPRINTABLE.sub("�", content))


def element(name: str, content: str = "", **attributes: Attribute) -> str:
    """One XML element. `content` is markup and must already be escaped; attribute values are escaped here.

    A trailing underscore of an attribute's name is dropped (`class_`), others become hyphens (`text_anchor`).
    """
    parts = [f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items()]
    return f"<{name}{''.join(parts)}>{content}</{name}>" if content else f"<{name}{''.join(parts)}/>"


def text(content: str, x: float, y: float, **attributes: Attribute) -> str:
    """One line of text, escaped."""
    return element("text", safe(content), x=x, y=y, **attributes)


def tip(content: str) -> str:
    """The tooltip of the element it is put into."""
    return element("title", safe(content))


def clip(content: str, characters: int) -> str:
    """The text, shortened in its middle: names of machines differ at both ends."""
    if len(content) <= characters:
        return content
    tail = (characters - 1) // 2
    return content[: characters - 1 - tail] + "…" + content[len(content) - tail :]


def figure(title: str, body: Sequence[str], height: float) -> str:
    """The chart around its body: scales with the page, read out by its title."""
    return element(
        "svg",
        tip(title) + "".join(body),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height:g}",
        class_="plot",
        role="img",
        aria_label=title,
    )


def standalone(svg: str) -> str:
    """A chart with its style sheet inside, to be saved as a file of its own."""
    return svg.replace("<title>", f"<style>{plot_css()}</style><title>", 1)


def plot_css() -> str:
    """The style sheet of the charts; a page that shows charts includes it once."""
    return resources.files(__package__ or "roughfed.report").joinpath("plot.css").read_text(encoding="utf-8")


def empty(title: str, message: str) -> str:
    """A chart without data says so."""
    return figure(title, [text(message, 0, 18, class_="quiet")], 30)


def legend(names: Sequence[str], *, top: float, left: float = 0) -> tuple[str, float]:
    """Coloured squares with names, wrapped to the width.

    Returns:
        (markup, height in units); nothing and 0 without names.
    """
    if not names:
        return "", 0.0
    parts: list[str] = []
    x, row = left, 0
    for i, name in enumerate(names):
        label = clip(name, 24)
        width = 32 + len(label) * FONT * 0.62
        if x + width > WIDTH and x > left:
            x, row = left, row + 1
        y = top + row * LEGEND_ROW
        parts.append(element("rect", x=x, y=y + 2, width=11, height=11, rx=2.5, class_=colour(i)))
        parts.append(text(label, x + 16, y + 12))
        x += width
    return "".join(parts), (row + 1) * LEGEND_ROW + 4.0


def colour(index: int) -> str:
    """Class of the index-th series."""
    return f"s{index % NUM_COLOURS}"


@dataclass(frozen=True, slots=True)
class Axis:
    """A value axis: its tick marks in increasing order, and how they are written."""

    ticks: Sequence[float]
    form: Format

    @property
    def label_width(self) -> float:
        """Units that the widest label needs."""
        return max(len(self.form(t)) for t in self.ticks) * FONT * 0.62 + 10


def _value(value: Attribute) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else safe(value)
