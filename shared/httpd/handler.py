"""Reads one bounded head, answers, closes."""

from __future__ import annotations

import gzip
import logging
import socket
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, urlsplit

from roughfed.charts import PLOT_STYLE
from roughfed.httpd.access import Access, is_foreign, names_loopback
from roughfed.httpd.feed import TooManyWatchers
from roughfed.httpd.values import EventStream, Request, Response, Routes

MAX_LINE_BYTES = 4 * 1024
MAX_HEAD_BYTES = 16 * 1024
MAX_FIELDS = 16
"""Names in a query."""
TIMEOUT_S = 10.0
PACKED_BYTES = 1024
"""A body from this size on is packed where the peer can read it."""
UNSENT_BYTES = 128 * 1024
"""What the system keeps for a watcher that does not read."""
GONE_MS = 30_000
"""A watcher's machine that confirms nothing for so long is gone."""

POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {PLOT_STYLE}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)
"""What a page may load: its own files, the rules that its charts bring, and nothing from anywhere else."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """What a server serves.

    Attributes:
        routes: path -> page.
        local_only: answer to loopback names only.
        access: who may ask; None: everybody.
        on_answered: told (path, status) of every answer; a path that is no page is "other".
    """

    routes: Routes
    local_only: bool
    access: Access | None
    on_answered: Callable[[str, int], None]


class HasSite(Protocol):
    """A server as its handler sees it."""

    site: Site

    def heard(self, request: object) -> None:
        """A connection has sent its request, or will not any more."""
        ...


class Handler(BaseHTTPRequestHandler):
    """One request of one connection."""

    server_version = "roughfed"
    sys_version = ""
    timeout = TIMEOUT_S

    @property
    def site(self) -> Site:
        """What is served here."""
        return cast("HasSite", self.server).site

    def handle(self) -> None:
        """One request."""
        self.close_connection = True
        self.requestline, self.request_version, self.command, self.path = "", "HTTP/1.0", "", ""
        try:
            head = read_head(self.connection)
        except (OSError, EOFError):  # slow or gone: nobody waits for an answer
            return
        finally:
            cast("HasSite", self.server).heard(self.request)
        self.connection.settimeout(TIMEOUT_S)  # for each piece of the answer as a whole
        if len(head) > MAX_HEAD_BYTES:
            self._answer(Response(b"request too large\n", status=431))
            return
        self.rfile = BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        if len(self.raw_requestline) > MAX_LINE_BYTES:
            self._answer(Response(b"request line too long\n", status=414))
        elif self.parse_request():
            self._serve()

    def _serve(self) -> None:
        if self.request_version == "HTTP/0.9":  # its answers have no head, so none of HEADERS
            self.send_error(505)
            return
        try:
            request = self._request()
        except ValueError:  # a host that is none, or too many fields
            self._answer(Response(b"bad request\n", status=400))
            return
        found = self._respond(request)
        if isinstance(found, EventStream):
            self._stream(request, found)
        else:
            self._answer(found, request)

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        query = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=MAX_FIELDS)
        headers = {name.lower(): value for name, value in reversed(self.headers.items())}  # the first one stays
        return Request(parts.path, dict(reversed(query)), headers, str(self.client_address[0]))

    def _respond(self, request: Request) -> Response | EventStream:
        site = self.site
        if self.command not in ("GET", "HEAD"):
            return Response(b"only GET and HEAD\n", status=405, headers={"Allow": "GET, HEAD"})
        if site.local_only and not names_loopback(self.headers.get_all("Host") or []):
            return Response(b"unknown host\n", status=403)
        if is_foreign(request):
            return Response(b"another site asks\n", status=403)
        if site.access is not None and (refusal := site.access.refusal(request)) is not None:
            return refusal
        if (page := site.routes.get(request.path)) is None:
            return Response(b"no such page\n", status=404)
        try:
            return page(request)
        except Exception:
            log.exception("an HTTP page failed", extra={"path": self.path})
            return Response(b"internal error, see the log\n", status=500)

    def _head(self, status: int, content_type: str, headers: dict[str, str]) -> None:
        path = urlsplit(self.path).path if status not in (400, 414, 431) else ""
        self.site.on_answered(path if path in self.site.routes else "other", status)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        for name, value in {**HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _answer(self, response: Response, request: Request | None = None) -> None:
        body, headers = response.body, dict(response.headers)
        if len(body) >= PACKED_BYTES:
            headers["Vary"] = "Accept-Encoding"
            if request is not None and request.accepts("gzip"):
                body = gzip.compress(body, 1, mtime=0)
                headers["Content-Encoding"] = "gzip"
        self._head(response.status, response.content_type, headers | {"Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self, request: Request, stream: EventStream) -> None:
        """Send a feed until it is over, the peer goes, or it takes longer than `TIMEOUT_S` to read one piece."""
        try:
            with stream.feed.follow() as pieces:
                packed = request.accepts("gzip")
                headers = {"Vary": "Accept-Encoding", "X-Accel-Buffering": "no"}  # proxies must not collect pieces
                self._head(200, "text/event-stream", headers | ({"Content-Encoding": "gzip"} if packed else {}))
                if self.command == "HEAD":
                    return
                self._watch_peer()
                pack = zlib.compressobj(1, wbits=31) if packed else None  # 31: with a gzip head
                for piece in pieces:
                    self.wfile.write(piece if pack is None else pack.compress(piece) + pack.flush(zlib.Z_SYNC_FLUSH))
        except TooManyWatchers:
            self._answer(Response(b"too many watchers\n", status=503, headers={"Retry-After": "5"}), request)
        except OSError as error:
            log.debug("a watcher went: %s", error)

    def _watch_peer(self) -> None:
        """Keep little for a slow reader, and notice one whose machine is gone."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """For the parser's refusals: plain, and without repeating what the peer sent."""
        self.request_version, self.path = "HTTP/1.0", ""
        self._answer(Response(b"bad request\n", status=code))

    def log_message(self, format: str, *args: Any) -> None:
        """To the log, not to stderr."""
        log.debug(format, *args)


def read_head(connection: socket.socket) -> bytes:
    """Bytes up to and with the empty line, or `MAX_HEAD_BYTES + 1` bytes without one.

    The deadline is for the head as a whole: a peer that drips one byte at a time gains nothing.

    Raises:
        OSError: too slow, or the connection broke.
        EOFError: closed before the empty line.
    """
    deadline = time.monotonic() + TIMEOUT_S
    head = bytearray()
    while len(head) <= MAX_HEAD_BYTES:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = connection.recv(MAX_HEAD_BYTES + 1 - len(head))
        if not chunk:
            raise EOFError
        head += chunk
        if b"\r\n\r\n" in head or b"\n\n" in head:
            break
    return bytes(head)
