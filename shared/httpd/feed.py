"""What happens, told to everybody who watches: server-sent events, the newest of each kind.

A watcher that reads slowly misses states that a newer one has replaced; nothing is queued for it, so nothing grows.
Format: WHATWG HTML, section 9.2 (https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

MAX_WATCHERS = 16
HEARTBEAT_S = 15.0
"""After so long without news a comment goes out: a connection whose peer is gone shows only when something is sent."""
RETRY_MS = 2000
END = "end"


class TooManyWatchers(Exception):
    """There is no place for another one, or the feed is over."""


class Feed:
    """One publisher, some watchers, each in a thread of its own."""

    def __init__(
        self,
        *,
        on_watched: Callable[[int], None] = lambda _: None,
        most: int = MAX_WATCHERS,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        """Nothing is known yet.

        Args:
            on_watched: told the number of watchers when it changes, in the watcher's thread.
            most: watchers at a time.
            heartbeat_s: seconds without news after which a watcher is sent a comment.
        """
        self._on_watched, self._most, self._heartbeat_s = on_watched, most, heartbeat_s
        self._news = threading.Condition()
        self._latest: dict[str, tuple[int, bytes]] = {}
        self._number = self._watchers = 0
        self._closed = False

    @property
    def watchers(self) -> int:
        """How many there are now."""
        return self._watchers

    def publish(self, event: str, data: bytes) -> None:
        """Replace what is known of a kind of event; never waits for a watcher."""
        with self._news:
            self._number += 1
            self._latest[event] = (self._number, data)
            self._news.notify_all()

    def close(self, *, patience_s: float = 0.0) -> None:
        """Let every watcher have the last news and go; wait for them so long."""
        with self._news:
            self._closed = True
            self._news.notify_all()
            self._news.wait_for(lambda: not self._watchers, patience_s)

    @contextmanager
    def follow(self) -> Generator[Iterator[bytes], None, None]:
        """Watch for as long as the block lasts.

        Yields:
            the stream's pieces; it waits for news, and ends when the feed is closed.

        Raises:
            TooManyWatchers: on entry.
        """
        with self._news:
            if self._closed or self._watchers >= self._most:
                raise TooManyWatchers
            self._watchers += 1
        try:
            self._on_watched(self._watchers)
            yield self._pieces()
        finally:
            with self._news:
                self._watchers -= 1
                if not self._watchers:
                    self._latest.clear()  # the next watcher is not to see what is old by then
                self._news.notify_all()
            self._on_watched(self._watchers)

    def _pieces(self) -> Iterator[bytes]:
        seen, closed = 0, False
        yield f"retry: {RETRY_MS}\n\n".encode()
        while not closed:
            with self._news:
                self._news.wait_for(lambda known=seen: self._closed or self._number > known, self._heartbeat_s)
                found = sorted((at, event, data) for event, (at, data) in self._latest.items() if at > seen)
                seen, closed = self._number, self._closed
            yield b"".join(message(event, data) for _, event, data in found) or b":\n\n"
        yield message(END, b"{}")


def message(event: str, data: bytes) -> bytes:
    """One event as it travels."""
    lines = b"".join(b"data: " + line + b"\n" for line in data.splitlines() or [b""])
    return b"event: " + event.encode() + b"\n" + lines + b"\n"
