"""Charts of the status page and of reports: Observable Plot as it is published, and `charts.js`, which draws with it.

A chart is data (`charts.js` says of which shape); `roughfed.report.chart` writes it into a page.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from importlib import resources

SCRIPTS = {"d3.min.js": "text/javascript", "plot.umd.min.js": "text/javascript", "charts.js": "module"}
"""File -> type of its element, in the order in which they are loaded."""

CSS = "charts.css"

PLOT_STYLE = "'sha256-jSYQUrW7J0b3jPqhZP9C2Xh1PyJKHKXd4s0fpGGKrww='"
"""For `style-src`: the rules that Plot puts into each of its drawings, always the same."""


@cache
def text(name: str) -> str:
    """A file of this folder."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def source_hash(content: str) -> str:
    """What `script-src` or `style-src` calls an element with this content."""
    return f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
