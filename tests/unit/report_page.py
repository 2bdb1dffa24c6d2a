"""A page as a browser without scripts reads it, and the data that its charts bring along."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

EMPTY = {"meta", "img", "br"}


class Reading(HTMLParser):
    """What stands in markup.

    Attributes:
        tags: names of its elements, in order, those of scripts and styles too.
        attributes: of each element, in the same order.
        scripts: (type, content) of each script.
        charts: the data of each chart.
    """

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[dict[str, str]] = []
        self.scripts: list[tuple[str, str]] = []
        self.styles: list[str] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self.feed(markup)
        self.close()
        assert self._open == []
        self.charts: list[dict[str, Any]] = [json.loads(t) for kind, t in self.scripts if kind == "application/json"]

    @property
    def text(self) -> str:
        """What a person reads without scripts, with single spaces."""
        return " ".join(" ".join(self._texts).split())

    def chart(self, name: str) -> dict[str, Any]:
        """The one whose name begins so."""
        (found,) = [each for each in self.charts if each["name"].startswith(name)]
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append({name: value or "" for name, value in attrs})
        if tag not in EMPTY:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append((self.attributes[-1].get("type", ""), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            kind, before = self.scripts.pop()
            self.scripts.append((kind, before + data))
        elif self._open[-1:] == ["style"]:
            self.styles.append(data)
        else:
            self._texts.append(data)


def values(chart: dict[str, Any], series: str) -> list[Any]:
    """Of one series of a chart."""
    (found,) = [each["values"] for each in chart["series"] if each["name"] == series]
    return found
