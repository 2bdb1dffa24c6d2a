"""The status page: static files that any browser takes as they are; they hold no data and ask no other machine.

`page.js` starts; `connection.js` reads what the server says, and each of the others is a section. Charts are those of
the report (`roughfed.charts`), the words those of all pages.
"""

from __future__ import annotations

from importlib import resources

from pydantic_core import to_json

from roughfed import charts
from roughfed.httpd import Page, Request, Response
from roughfed.report.words import FREE_RIDING, REASONS, SEEN

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
JSON = "application/json"
INDEX = "index.html"


def files() -> dict[str, Page]:
    """Path -> page, of every file."""
    found = {"/words.json": _fixed(_words(), JSON)}
    for each in (*resources.files(charts).iterdir(), *resources.files(__name__).iterdir()):
        kind = TYPES.get(f".{each.name.rpartition('.')[2]}")
        if kind is not None:
            found["/" if each.name == INDEX else f"/{each.name}"] = _fixed(each.read_bytes(), kind)
    return found


def _fixed(body: bytes, content_type: str) -> Page:
    answer = Response(body, content_type)

    def page(_: Request) -> Response:
        return answer

    return page


def _words() -> bytes:
    words = {"reasons": REASONS, "free_riding": FREE_RIDING, "seen": SEEN}
    return to_json({key: dict(each) for key, each in words.items()})
