"""A small HTTP server for `/metrics` and `/healthz`: read-only, bounded, on this machine by default.

One request per connection. A peer can hold at most one of `MAX_CONNECTIONS` slots, for at most `TIMEOUT_S` to send its
request and as long again to take the answer, and can make the server keep at most `MAX_HEAD_BYTES`. Bound to a loopback
address, it answers only to loopback names (a web page cannot reach it by rebinding its own name to 127.0.0.1).
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from json import dumps
from socketserver import TCPServer
from typing import cast
from urllib.parse import urlsplit

from roughfed.errors import ConfigError

MAX_CONNECTIONS = 32
MAX_LINE_BYTES = 4 * 1024
MAX_HEAD_BYTES = 16 * 1024
TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Response:
    """What a page answers."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


Routes = Mapping[str, Callable[[], Response]]


def health(checks: Mapping[str, bool], **facts: str | int | float | bool | None) -> Response:
    """`/healthz`: 200 when every check holds, else 503; the body names each check and the given facts."""
    good = all(checks.values())
    body = {"status": "ok" if good else "failing", "checks": dict(checks), **facts}
    return Response(dumps(body).encode(), "application/json", 200 if good else 503)


def is_loopback(host: str) -> bool:
    """True for `localhost` and the loopback addresses; other names are never looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class HttpServer:
    """Serves from its construction until `stop`."""

    def __init__(
        self, host: str, port: int, routes: Routes, *, allow_remote: bool = False, key: str = "server.http_port"
    ) -> None:
        """Bind and start.

        Args:
            host: address to bind.
            port: 0 takes any free one.
            routes: path -> page. A page runs in a thread of its own and may be called at any time.
            allow_remote: permit an address that other machines reach; what is served is neither encrypted nor
                protected by a password.
            key: the setting to name when the port is refused.

        Raises:
            ConfigError: a remote address without `allow_remote`, or an address that cannot be bound.
        """
        if not is_loopback(host) and not allow_remote:
            raise ConfigError(
                f"{host or 'every address'} can be reached from other machines",
                key=key,
                cure="bind 127.0.0.1, or allow remote access on purpose (plain HTTP, no password)",
            )
        try:
            self._server = _Server((host, port), dict(routes), local_only=is_loopback(host))
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error}", key=key, cure="choose another port, or 0 for any free one"
            ) from error
        self._address = self._server.socket.getsockname()
        self.port: int = self._address[1]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"http-{self.port}", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._server.handle_request()  # blocks until a connection comes: `serve_forever` would poll

    def stop(self) -> None:
        """Stop listening; answers under way end by themselves. Stopping twice is harmless."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._address[0], self._address[0])  # noqa: S104
        with suppress(OSError):  # the connection only wakes the thread
            socket.create_connection((host, self.port), timeout=1).close()
        self._thread.join(timeout=TIMEOUT_S)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """One thread per connection, at most `MAX_CONNECTIONS`; the next one is closed unread."""

    def __init__(self, address: tuple[str, int], routes: Routes, *, local_only: bool) -> None:
        self.routes = routes
        self.local_only = local_only
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's reverse name lookup, which can hang for seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "roughfed", self.server_address[1]

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Take a slot or close."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)  # pyright: ignore[reportArgumentType]
        except RuntimeError:  # no thread to be had; the caller closes the connection
            self._slots.release()
            raise

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Give the slot back whatever happens."""
        try:
            super().process_request_thread(request, client_address)  # pyright: ignore[reportArgumentType]
        finally:
            self._slots.release()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """A broken connection is the peer's affair; socketserver would print its trace."""
        log.debug("an HTTP connection failed: %s", sys.exc_info()[1])


class _Handler(BaseHTTPRequestHandler):
    """Reads one bounded head, answers, closes."""

    server_version = "roughfed"
    sys_version = ""
    timeout = TIMEOUT_S

    def handle(self) -> None:
        """One request."""
        self.close_connection = True
        self.requestline, self.request_version, self.command = "", "HTTP/1.0", ""
        try:
            head = _read_head(self.connection)
        except (OSError, EOFError):  # slow or gone: nobody waits for an answer
            return
        self.connection.settimeout(TIMEOUT_S)  # for the answer as a whole
        if len(head) > MAX_HEAD_BYTES:
            self._answer(Response(b"request too large\n", status=431))
            return
        self.rfile = BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        if len(self.raw_requestline) > MAX_LINE_BYTES:
            self._answer(Response(b"request line too long\n", status=414))
        elif self.parse_request():
            self._answer(self._respond())

    def _respond(self) -> Response:
        server = cast("_Server", self.server)
        if self.command not in ("GET", "HEAD"):
            return Response(b"only GET and HEAD\n", status=405)
        if server.local_only and not _names_loopback(self.headers.get_all("Host") or []):
            return Response(b"unknown host\n", status=403)
        page = server.routes.get(urlsplit(self.path).path)
        if page is None:
            return Response(b"no such page\n", status=404)
        try:
            return page()
        except Exception:
            log.exception("an HTTP page failed", extra={"path": self.path})
            return Response(b"internal error, see the log\n", status=500)

    def _answer(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if response.status == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """For the parser's refusals: plain, and without repeating what the peer sent."""
        self.request_version = "HTTP/1.0"
        self._answer(Response(b"bad request\n", status=code))

    def log_message(self, format: str, *args: object) -> None:
        """To the log, not to stderr."""
        log.debug(format, *args)


def _read_head(connection: socket.socket) -> bytes:
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


def _names_loopback(hosts: list[str]) -> bool:
    """Exactly one Host header, and it names this machine."""
    if len(hosts) != 1:
        return False
    try:
        return is_loopback(urlsplit(f"//{hosts[0]}").hostname or "")
    except ValueError:
        return False
