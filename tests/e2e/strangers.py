"""Connections that say nothing: opened, and opened again as soon as the server ends them."""

from __future__ import annotations

import resource
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from .process import PATIENCE_S


class Strangers:
    """So many connections without a byte, kept up from one address for as long as the block lasts."""

    def __init__(self, port: int, count: int, *, source: str, host: str = "127.0.0.1") -> None:
        self._to, self._source, self._count = (host, port), source, count
        self._selector = selectors.DefaultSelector()
        self._sockets = set[socket.socket]()
        self._over, self.all_came = threading.Event(), threading.Event()
        self._opened = 0
        self._thread = threading.Thread(target=self._keep_up, name="strangers")

    def __enter__(self) -> Strangers:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE_S)
        for link in self._sockets:
            link.close()
        self._selector.close()

    def _keep_up(self) -> None:
        while not self._over.is_set():
            for _ in range(min(100, self._count - len(self._sockets))):
                link = socket.socket()
                link.setblocking(False)
                link.bind((self._source, 0))
                with suppress(BlockingIOError):
                    link.connect(self._to)
                self._sockets.add(link)
                self._selector.register(link, selectors.EVENT_READ)
                self._opened += 1
            if self._opened >= self._count:
                self.all_came.set()
            self._over.wait(0.05)
            for key, _ in self._selector.select(0):
                link = key.fileobj
                assert isinstance(link, socket.socket)
                with suppress(BlockingIOError, OSError):
                    if link.recv(1):
                        continue
                self._selector.unregister(link)
                self._sockets.discard(link)
                link.close()


def slowest(calls: Sequence[Callable[[], object]], until: Callable[[], bool]) -> tuple[float, int]:
    """Make the calls in turn until `until` holds; the 99th percentile of their seconds, and their number."""
    took = list[float]()
    while not until() or len(took) < 100:
        for call in calls:
            began = time.monotonic()
            call()
            took.append(time.monotonic() - began)
    return sorted(took)[int(0.99 * (len(took) - 1))], len(took)
