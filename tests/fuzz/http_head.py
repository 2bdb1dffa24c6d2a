"""The head of an HTTP request: every peer gets an answer with a status, or nothing because it never finished."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from roughfed.httpd.access import Access
from roughfed.httpd.handler import MAX_HEAD_BYTES, Handler, Site
from roughfed.httpd.values import Request, Response

RUNS = 1500


class Wire:
    """A socket of which the peer has sent all that it will."""

    def __init__(self, data: bytes) -> None:
        self._left, self.sent = BytesIO(data), b""

    def settimeout(self, _seconds: float) -> None:
        pass

    def recv(self, count: int) -> bytes:
        return self._left.read(count)

    def makefile(self, *_: Any, **__: Any) -> BytesIO:
        return self._left

    def sendall(self, data: bytes) -> None:
        self.sent += bytes(data)

    def setsockopt(self, *_: Any) -> None:
        pass

    def shutdown(self, _how: int) -> None:
        pass


def page(request: Request) -> Response:
    """What the real pages look at."""
    after = request.query.get("after", "0")
    return Response(f"{after} {request.path}\n".encode("utf-8", "replace") * 40)


def other(path: str, status: int) -> None:
    assert path in ("/", "/api/rounds", "other")
    assert 100 <= status < 600
    assert status != 500


class Server:
    """As the handler sees it."""

    def __init__(self, *, closed: bool) -> None:
        access = Access("the token", open_paths=("/",), clock=lambda: 0.0) if closed else None
        self.site = Site({"/": page, "/api/rounds": page}, not closed, access, other)

    def heard(self, _connection: object) -> None:
        """The head of a request is here."""


OPEN, CLOSED = Server(closed=False), Server(closed=True)


def fuzz(data: bytes) -> None:
    if not data:
        return
    wire: Any = Wire(data[1:])
    Handler(wire, ("127.0.0.1", 1), CLOSED if data[0] % 2 else OPEN)  # type: ignore[arg-type]
    if wire.sent:
        assert wire.sent[:9] == b"HTTP/1.0 ", wire.sent[:40]
        assert b"\r\n\r\n" in wire.sent
        assert len(wire.sent) < 4 * MAX_HEAD_BYTES


def seeds() -> list[bytes]:
    token = "Authorization: Bearer the token\r\n"
    heads = (
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/rounds?after=3&x=%20 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept-Encoding: gzip, br\r\n\r\n",
        f"HEAD /api/rounds HTTP/1.0\r\nHost: a.example\r\n{token}\r\n",
        "POST / HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 3\r\nSec-Fetch-Site: cross-site\r\n\r\nabc",
        "GET http://user@localhost:80/x#y HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n",
        "GET /\n\n",
    )
    return [bytes([number]) + head.encode() for head in heads for number in (0, 1)]
