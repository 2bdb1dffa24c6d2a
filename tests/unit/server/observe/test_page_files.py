"""The status page as files: what it may load, what it names, what can be read in it. Chromium looks in tests/e2e."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from roughfed import charts
from roughfed.httpd import Request
from roughfed.httpd.values import Response
from roughfed.report.words import REASONS
from roughfed.server.observe import page
from tests.unit.shared.charts.test_palette import contrast

FILES = {path: answer for path, each in page.files().items() if isinstance(answer := each(Request(path)), Response)}
TEXTS = {path: answer.body.decode() for path, answer in FILES.items()}
VENDORED = {"/d3.min.js", "/plot.umd.min.js"}
SCRIPTS = sorted(path for path in FILES if path.endswith(".js") and path not in VENDORED)
THEMES = ("light", "dark")
SMALL, LARGE = 4.5, 3.0
"""WCAG 2.2, 1.4.3 and 1.4.11: of text, and of what is not text."""

VOID = {"meta", "link", "input", "img", "br", "hr"}


class Document(HTMLParser):
    """The elements of the page, each with its attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


DOCUMENT = Document(TEXTS["/"])
IDS = [attributes["id"] for _, attributes in DOCUMENT.elements if "id" in attributes]


def colours(theme: str) -> dict[str, str]:
    """The variables of both style sheets in a theme."""
    found: dict[str, str] = {}
    for text in (TEXTS["/charts.css"], TEXTS["/page.css"]):
        light, _, dark = text.partition("prefers-color-scheme: dark")
        assert dark
        found |= re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light)
        if theme == "dark":
            found |= re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark)
    return found


# -- what it loads ---------------------------------------------------------------------------------------------------


def test_files_are_small_and_few() -> None:
    assert set(FILES) >= {"/", "/page.css", "/charts.css", "/page.js", "/words.json", *VENDORED}
    own = FILES.keys() - VENDORED
    assert sum(len(FILES[path].body) for path in own) < 120_000
    assert {path: n for path in own if (n := TEXTS[path].count("\n")) > 400} == {}


def test_plot_is_there_before_the_page_begins() -> None:
    """Deferred scripts and modules run in the order of the document."""
    assert [each["src"] for each in DOCUMENT.all("script")] == ["d3.min.js", "plot.umd.min.js", "page.js"]
    assert all("defer" in each or each.get("type") == "module" for each in DOCUMENT.all("script"))


def test_types_are_what_nosniff_asks_for() -> None:
    kinds = {"": "text/html", "css": "text/css", "js": "text/javascript", "json": "application/json"}
    for path, answer in FILES.items():
        assert answer.content_type.startswith(kinds[path.rpartition(".")[2] if "." in path else ""])


def test_it_holds_no_address_of_another_machine() -> None:
    known = {"http://www.w3.org/2000/svg"}  # a name, which nobody fetches
    for path, text in ((path, text) for path, text in TEXTS.items() if path not in VENDORED):
        assert set(re.findall(r"https?://[^\s'\"`)]+", text)) <= known, path
        assert not re.search(r"@import|url\(", text), path


def test_everything_that_it_names_is_there() -> None:
    named = {each["href"] for each in DOCUMENT.all("link")} | {each["src"] for each in DOCUMENT.all("script")}
    assert {f"/{name}" for name in named if not name.startswith("data:")} <= FILES.keys()
    for path in SCRIPTS:
        for name in re.findall(r'from "\./([^"]+)"', TEXTS[path]):
            assert f"/{name}" in FILES, (path, name)


def test_nothing_is_inline() -> None:
    """The policy forbids scripts and styles in the document: they would silently not count."""
    assert not DOCUMENT.all("style")
    assert all(each.get("src") for each in DOCUMENT.all("script"))
    for tag, attributes in DOCUMENT.elements:
        assert not any(name == "style" or name.startswith("on") for name in attributes), tag
    for path in SCRIPTS:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", TEXTS[path]
        )
        assert not re.search(r"style:|\.style\b|setAttribute\(\"style", TEXTS[path]), path


def test_the_words_are_those_of_the_report() -> None:
    assert json.loads(TEXTS["/words.json"])["reasons"] == dict(REASONS)


# -- what can be read ------------------------------------------------------------------------------------------------


def test_the_document_says_its_language_and_closes_what_it_opens() -> None:
    assert DOCUMENT.open == []
    assert DOCUMENT.all("html")[0]["lang"] == "en"
    assert len(IDS) == len(set(IDS))


def test_there_is_one_of_each_landmark_and_sections_have_names() -> None:
    for tag in ("header", "nav", "main", "footer", "h1"):
        assert len(DOCUMENT.all(tag)) == 1, tag
    for section in DOCUMENT.all("section"):
        assert section["aria-labelledby"] in IDS
    assert DOCUMENT.all("a")[0]["href"] == "#content"  # the first stop of the keyboard


def test_headings_are_in_order() -> None:
    levels = [int(tag[1]) for tag, _ in DOCUMENT.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_links_and_labels_lead_somewhere() -> None:
    for each in DOCUMENT.all("a"):
        assert each["href"].removeprefix("#") in IDS
    labelled = {each["for"] for each in DOCUMENT.all("label")}
    assert {each["id"] for each in DOCUMENT.all("input")} <= labelled


def test_scripts_find_the_elements_that_they_speak_of() -> None:
    for path in SCRIPTS:
        for name in re.findall(r'byId\("([^"]+)"\)', TEXTS[path]):
            assert name in IDS, (path, name)


PAPERS = ("paper", "back")
TINTS = {"good": "good-back", "warn": "warn-back", "bad": "bad-back"}


@pytest.mark.parametrize("theme", THEMES)
def test_text_can_be_read(theme: str) -> None:
    known = colours(theme)
    pairs = [(ink, paper) for ink in ("ink", "ink-quiet", "accent") for paper in (*PAPERS, "soft")]
    pairs += [(ink, paper) for ink, tint in TINTS.items() for paper in ("paper", tint)]
    pairs += [("ink", tint) for tint in TINTS.values()] + [("ink-quiet", tint) for tint in TINTS.values()]
    pairs += [("accent-ink", "accent")]
    found = {pair: contrast(known[pair[0]], known[pair[1]]) for pair in pairs}
    assert {pair: round(value, 2) for pair, value in found.items() if value < SMALL} == {}


@pytest.mark.parametrize("theme", THEMES)
def test_fields_can_be_seen(theme: str) -> None:
    known = colours(theme)
    for name in ("field", "accent"):
        assert contrast(known[name], known["paper"]) >= LARGE, name


def test_motion_is_for_those_who_want_it() -> None:
    css = TEXTS["/page.css"] + TEXTS["/parts.css"]
    for rule in re.finditer(r"animation:|transition:|scroll-behavior: smooth", css):
        assert "prefers-reduced-motion: no-preference" in css[max(0, rule.start() - 200) : rule.start()]


def test_the_files_are_those_of_the_folder() -> None:
    folders = [Path(str(each.__file__)).parent for each in (page, charts)]
    here = {path.name for folder in folders for path in folder.iterdir() if path.suffix in page.TYPES}
    assert {f"/{name}" if name != "index.html" else "/" for name in here} | {"/words.json"} == set(FILES)
