"""Watchers get the newest news, and none of them can hold anybody up."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from roughfed.httpd import EventStream, Feed, HttpServer, handler

PATIENCE_S = 20.0
HEAD = b"GET /events HTTP/1.1\r\nHost: localhost\r\n"


class Watched:
    """A feed behind a server; the number of watchers can be waited for."""

    def __init__(self, **options: float) -> None:
        self._news = threading.Condition()
        self._count = 0
        self.feed = Feed(on_watched=self._on_watched, **options)  # pyright: ignore[reportArgumentType]
        self.server = HttpServer("127.0.0.1", 0, {"/events": lambda _: EventStream(self.feed)})

    def _on_watched(self, count: int) -> None:
        with self._news:
            self._count = count
            self._news.notify_all()

    def wait(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self._count == count, PATIENCE_S), self._count

    @contextmanager
    def watcher(self, more: bytes = b"") -> Iterator[socket.socket]:
        with closing(socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE_S)) as link:
            link.sendall(HEAD + more + b"\r\n")
            yield link

    def close(self) -> None:
        self.feed.close(patience_s=1.0)
        self.server.stop()


@pytest.fixture
def watched() -> Iterator[Watched]:
    made = Watched()
    yield made
    made.close()


def read_until(link: socket.socket, end: bytes) -> bytes:
    found = bytearray()
    while end not in found[-65536 - len(end) :]:
        chunk = link.recv(65536)
        assert chunk, bytes(found[-500:])
        found += chunk
    return bytes(found)


def rest(link: socket.socket) -> bytes:
    return b"".join(iter(lambda: link.recv(65536), b""))


def test_a_watcher_gets_what_is_known_and_then_the_news(watched: Watched) -> None:
    watched.feed.publish("status", b"{1}")
    with watched.watcher() as link:
        head, _, first = read_until(link, b"{1}\n\n").partition(b"\r\n\r\n")
        assert b"200" in head.splitlines()[0]
        assert b"Content-Type: text/event-stream" in head
        assert b"Content-Length" not in head
        assert first == b"retry: 2000\n\nevent: status\ndata: {1}\n\n"
        watched.feed.publish("round", b"a\nb")
        assert read_until(link, b"\n\n") == b"event: round\ndata: a\ndata: b\n\n"


def test_at_its_end_a_feed_says_so_and_lets_everybody_go(watched: Watched) -> None:
    with watched.watcher() as link:
        watched.wait(1)
        watched.feed.publish("status", b"{last}")
        watched.feed.close(patience_s=PATIENCE_S)
        assert rest(link).endswith(b"event: status\ndata: {last}\n\nevent: end\ndata: {}\n\n")
    with watched.watcher() as link:
        assert b" 503 " in rest(link).splitlines()[0]


def test_events_are_packed_piece_by_piece_for_who_can_read_it(watched: Watched) -> None:
    watched.feed.publish("status", b"{1}")
    with watched.watcher(b"Accept-Encoding: br, gzip\r\n") as link:
        unpack, text = zlib.decompressobj(31), b""
        _, _, packed = read_until(link, b"\r\n\r\n").partition(b"\r\n\r\n")
        while b"{1}" not in text:  # a piece is there as soon as it was sent
            text += unpack.decompress(packed)
            packed = b"" if b"{1}" in text else link.recv(65536)
        watched.feed.close(patience_s=PATIENCE_S)
        assert b"event: end" in unpack.decompress(rest(link))


def test_who_comes_later_is_not_told_what_nobody_watched(watched: Watched) -> None:
    watched.feed.publish("status", b"{old}")
    with watched.watcher() as link:
        read_until(link, b"{old}")
        watched.wait(1)
        link.shutdown(socket.SHUT_RDWR)
        watched.feed.publish("status", b"{old}" * 200_000)
        watched.wait(0)
    with watched.watcher() as link:
        watched.wait(1)
        watched.feed.publish("round", b"{new}")
        assert b"old" not in read_until(link, b"{new}")


def test_a_peer_that_went_is_noticed_by_the_heartbeat() -> None:
    watched = Watched(heartbeat_s=0.02)
    with watched.watcher() as link:
        read_until(link, b":\n\n")
    watched.wait(0)
    watched.close()


def test_watchers_are_few(watched: Watched) -> None:
    watched.feed._most = 1
    with watched.watcher():
        watched.wait(1)
        with watched.watcher() as second:
            answer = rest(second)
            assert b" 503 " in answer.splitlines()[0]
            assert b"Retry-After: 5" in answer


def test_a_slow_reader_is_dropped_and_blocks_nobody(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "TIMEOUT_S", 0.2)
    large = b"x" * 16_000_000
    with watched.watcher() as slow:  # never reads
        watched.wait(1)
        monkeypatch.setattr(handler, "TIMEOUT_S", 10.0)
        with watched.watcher() as quick:
            watched.wait(2)
            began = time.monotonic()
            watched.feed.publish("status", large)
            assert time.monotonic() - began < 0.1  # publishing never waits for a reader
            assert len(read_until(quick, b"x\n\n")) > len(large)
            watched.wait(1)
            watched.feed.publish("status", b"{still here}")
            read_until(quick, b"{still here}")
        assert len(rest_of_broken(slow)) < len(large)


def rest_of_broken(link: socket.socket) -> bytes:
    try:
        return rest(link)
    except ConnectionError:
        return b""


def test_head_of_a_stream_has_no_body(watched: Watched) -> None:
    with closing(socket.create_connection(("127.0.0.1", watched.server.port), timeout=PATIENCE_S)) as link:
        link.sendall(HEAD.replace(b"GET", b"HEAD") + b"\r\n")
        assert rest(link).endswith(b"\r\n\r\n")


def test_gzip_is_the_real_thing() -> None:
    """The window of `zlib.compressobj(wbits=31)` is what `gzip` reads."""
    pack = zlib.compressobj(1, wbits=31)
    assert gzip.decompress(pack.compress(b"abc") + pack.flush()) == b"abc"
