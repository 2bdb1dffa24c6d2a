"""The trainer's end of the socket: requests in, answers and progress out, and the end when the parent is gone."""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

PROGRESS_S = 0.2  # at most five lines a second
EXIT_S = 1.0  # time for an orderly exit after the end of file
PR_SET_PDEATHSIG = 1


class Abandoned(BaseException):
    """The parent no longer wants the answer. Not an Exception, so that the user's `except Exception` lets it pass."""


class Link:
    """JSON lines over an inherited socket. A thread reads, so that a cancellation is seen during training."""

    def __init__(self, fd: int) -> None:
        """Start reading from the socket `fd`."""
        self._socket = socket.socket(fileno=fd)
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._cancelled = 0
        self._current = 0
        self._next_progress = 0.0
        # Forked DataLoader workers must not hold the socket: the parent would not see this process die.
        os.register_at_fork(after_in_child=self._let_go)
        threading.Thread(target=self._read, name="link", daemon=True).start()

    def receive(self) -> dict[str, Any] | None:
        """The next request; None when the parent has closed its end."""
        request = self._requests.get()
        if request is not None:
            self._current = request["id"]
            self._next_progress = 0.0
        return request

    def send(self, message: dict[str, Any]) -> None:
        """Answer the current request; a parent that is gone needs no answer."""
        line = json.dumps({"id": self._current, **message}, allow_nan=False).encode() + b"\n"
        with suppress(ConnectionError):
            self._socket.sendall(line)

    def report(self, fraction: float) -> None:
        """Tell how far the current request is, 0 to 1; called between two batches.

        Raises:
            Abandoned: the parent cancelled it or is gone.
        """
        if self._cancelled >= self._current:
            raise Abandoned
        if (now := time.monotonic()) >= self._next_progress:
            self._next_progress = now + PROGRESS_S
            self.send({"progress": min(fraction, 1.0)})

    def _let_go(self) -> None:
        if (fd := self._socket.detach()) >= 0:
            os.close(fd)

    def _read(self) -> None:
        with suppress(ConnectionError), self._socket.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                if "cancel" in request:
                    self._cancelled = request["cancel"]
                else:
                    self._requests.put(request)
        self._cancelled = sys.maxsize
        self._requests.put(None)
        # The main thread returns between two batches. A loop that does not, or an exit that hangs, is cut short.
        last_resort = threading.Timer(EXIT_S, os._exit, [0])
        last_resort.daemon = True
        last_resort.start()


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies (Linux; elsewhere the end of file does it)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
