"""Listens: one request per connection, a bounded number of connections.

A connection can hold one of `MAX_CONNECTIONS` slots, for at most `TIMEOUT_S` to send its request and as long again to
take the answer (a watcher: each piece of it), and can make the server keep at most `MAX_HEAD_BYTES`. Watchers can take
only some of the slots (`Feed`). Where none is free, the connection that has been silent for longest makes room, of the
address that has most such ones: so nobody keeps a health check out by opening connections and saying nothing. Bound to
a loopback address, it answers only to loopback names; bound elsewhere, it asks for a token.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import ThreadingHTTPServer
from socketserver import TCPServer
from typing import cast

from roughfed.errors import ConfigError
from roughfed.httpd.access import Access, is_loopback
from roughfed.httpd.handler import Handler, Site
from roughfed.httpd.values import Routes

MAX_CONNECTIONS = 32
HANDOVER_S = 1.0
"""So long may it take until a slot that was taken away is free."""
STOP_S = 10.0

log = logging.getLogger(__name__)


def uncounted(_path: str, _status: int) -> None:
    """Nobody counts the answers."""


class HttpServer:
    """Serves from its construction until `stop`."""

    def __init__(
        self,
        host: str,
        port: int,
        routes: Routes,
        *,
        access: Access | None = None,
        key: str = "server.http_port",
        on_answered: Callable[[str, int], None] = uncounted,
    ) -> None:
        """Bind and start.

        Args:
            host: address to bind.
            port: 0 takes any free one.
            routes: path -> page. A page runs in a thread of its own and may be called at any time.
            access: who may ask; an address that other machines reach needs one.
            key: the setting to name when the port is refused.
            on_answered: told (path, status) of every answer, in its thread.

        Raises:
            ConfigError: a remote address without `access`, or an address that cannot be bound.
        """
        if not is_loopback(host) and access is None:
            raise ConfigError(
                f"{host or 'every address'} can be reached from other machines, and no token is asked for here",
                key=key,
                cure="bind 127.0.0.1, and forward the port (ssh -L) to see it from elsewhere",
            )
        site = Site(dict(routes), is_loopback(host), access, on_answered)
        try:
            self._server = _Server((host, port), site)
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
        self._thread.join(timeout=STOP_S)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """One thread per connection, at most `MAX_CONNECTIONS`; the next one is closed unread if all of them are busy."""

    request_queue_size = 128  # with socketserver's 5, a crowd makes the system drop whoever comes next

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        self.site = site
        self._silent: dict[object, object] = {}  # address of connections without a request so far, oldest first
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's reverse name lookup, which can hang for seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "roughfed", self.server_address[1]

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Take a slot or close."""
        free = self._slots.acquire(blocking=False) or (self._hush() and self._slots.acquire(timeout=HANDOVER_S))
        if not free:
            self.shutdown_request(request)
            return
        with self._lock:
            self._silent[request] = client_address[0] if isinstance(client_address, tuple) else None
        try:
            super().process_request(request, client_address)  # pyright: ignore[reportArgumentType]
        except RuntimeError:  # no thread to be had; the caller closes the connection
            self.heard(request)
            self._slots.release()
            raise

    def heard(self, request: object) -> None:
        """It has sent its request, or will not any more: its slot is its own from now on."""
        with self._lock:
            self._silent.pop(request, None)

    def _hush(self) -> bool:
        """End the oldest silent connection of the address that has most of them; whether there is one."""
        with self._lock, suppress(OSError):
            if not self._silent:
                return False
            crowd = Counter(self._silent.values()).most_common(1)[0][0]
            oldest = next(link for link, address in self._silent.items() if address == crowd)
            del self._silent[oldest]
            cast("socket.socket", oldest).shutdown(socket.SHUT_RDWR)  # its thread wakes, and gives the slot back
        return True

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
