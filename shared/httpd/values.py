"""What is asked of a page, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from json import dumps

from roughfed.httpd.feed import Feed

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as far as a page may see it. All of it comes from the peer.

    Attributes:
        path: without the query.
        query: name -> its first value.
        headers: name in lower case -> its first value.
        peer: the address that the connection comes from.
    """

    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    peer: str = ""

    def accepts(self, encoding: str) -> bool:
        """Whether the peer reads a content encoding; one with a weight of its own is taken for no."""
        return encoding in (each.strip() for each in self.headers.get("accept-encoding", "").split(","))


@dataclass(frozen=True, slots=True)
class Response:
    """What a page answers.

    Attributes:
        body: all of it.
        content_type: of the body.
        status: of HTTP.
        headers: more of them.
    """

    body: bytes
    content_type: str = TEXT
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class EventStream:
    """An answer that does not end: server-sent events out of a feed."""

    feed: Feed


Page = Callable[[Request], Response | EventStream]
"""Answers requests; it runs in a thread of its own, and several may run at a time."""

Routes = Mapping[str, Page]


def health(checks: Mapping[str, bool], **facts: str | int | float | bool | None) -> Response:
    """`/healthz`: 200 when every check holds, else 503; the body names each check and the given facts."""
    good = all(checks.values())
    body = {"status": "ok" if good else "failing", "checks": dict(checks), **facts}
    return Response(dumps(body).encode(), JSON, 200 if good else 503)
