from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator

import pytest

from roughfed.errors import ConfigError
from roughfed.httpd import Access, HttpServer, Request, Response, handler, health
from roughfed.httpd import server as listening
from roughfed.httpd.handler import MAX_HEAD_BYTES, MAX_LINE_BYTES


def boom(_: Request) -> Response:
    raise RuntimeError("the secret of the trace")


ROUTES = {
    "/metrics": lambda _: Response(b"up 1\n"),
    "/healthz": lambda _: health({"journal": True, "disk": False}, round=3),
    "/boom": boom,
}


@pytest.fixture
def server() -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, ROUTES)
    yield server
    server.stop()


def connect(server: HttpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=5)


def ask(server: HttpServer, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send raw bytes; status, headers (lower case) and body of the answer."""
    with connect(server) as sock:
        sock.sendall(request)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *rows = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (row.split(": ", 1) for row in rows)}
    return int(status.split()[1]), headers, body


def get(
    server: HttpServer, path: str, *, method: str = "GET", host: str = "localhost"
) -> tuple[int, dict[str, str], bytes]:
    return ask(server, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


def test_a_page_is_served(server: HttpServer) -> None:
    status, headers, body = get(server, "/metrics?x=1")

    assert (status, body) == (200, b"up 1\n")
    assert headers["content-length"] == "5"
    assert headers["server"].strip() == "roughfed"  # no version of anything


def test_head_has_the_headers_only(server: HttpServer) -> None:
    status, headers, body = get(server, "/metrics", method="HEAD")

    assert (status, headers["content-length"], body) == (200, "5", b"")


def test_health_says_what_fails(server: HttpServer) -> None:
    status, headers, body = get(server, "/healthz")

    assert (status, headers["content-type"]) == (503, "application/json")
    assert json.loads(body) == {"status": "failing", "checks": {"journal": True, "disk": False}, "round": 3}
    assert health({"journal": True}).status == 200


def test_an_unknown_page_is_404(server: HttpServer) -> None:
    assert get(server, "/../etc/passwd")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"])
def test_other_methods_are_405(method: str, server: HttpServer) -> None:
    status, headers, _ = get(server, "/metrics", method=method)

    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_a_failing_page_is_500_without_its_trace(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="roughfed.httpd.handler"):
        status, _, body = get(server, "/boom")

    assert status == 500
    assert b"secret" not in body
    assert "the secret of the trace" in caplog.text  # it is in the log
    assert get(server, "/metrics")[0] == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:9464", "127.0.0.1:1", "[::1]:9464", "127.8.8.8"])
def test_loopback_names_are_answered(host: str, server: HttpServer) -> None:
    assert get(server, "/metrics", host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[::1", "0.0.0.0"])
def test_other_names_are_refused_on_loopback(host: str, server: HttpServer) -> None:
    assert get(server, "/metrics", host=host)[0] == 403


def test_a_missing_or_doubled_host_is_refused(server: HttpServer) -> None:
    assert ask(server, b"GET /metrics HTTP/1.0\r\n\r\n")[0] == 403
    assert ask(server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")[0] == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.0.2.1", "example.org", "::"])
def test_a_remote_address_needs_a_word(host: str) -> None:
    with pytest.raises(ConfigError) as info:
        HttpServer(host, 0, ROUTES, key="server.http_host")

    assert info.value.key == "server.http_host"
    assert "127.0.0.1" in info.value.cure


def test_any_name_is_answered_where_a_token_is_asked_for() -> None:
    server = HttpServer("0.0.0.0", 0, ROUTES, access=Access("secret", open_paths={"/healthz"}))
    try:
        assert get(server, "/healthz", host="fed.example.org")[0] == 503
        assert get(server, "/metrics", host="fed.example.org")[0] == 401
    finally:
        server.stop()


def test_a_port_in_use_names_key_and_cure(server: HttpServer) -> None:
    with pytest.raises(ConfigError) as info:
        HttpServer("127.0.0.1", server.port, ROUTES)

    assert info.value.key == "server.http_port"
    assert str(server.port) in info.value.cause
    assert "another port" in info.value.cure


def test_a_port_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError):
        HttpServer("127.0.0.1", 70_000, ROUTES)


def test_a_long_request_line_is_414(server: HttpServer) -> None:
    assert get(server, "/" + "a" * MAX_LINE_BYTES)[0] == 414


def test_a_head_over_the_limit_is_431(server: HttpServer) -> None:
    start = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "

    assert ask(server, start + b"a" * (MAX_HEAD_BYTES + 1 - len(start)))[0] == 431


def test_a_head_at_the_limit_is_served(server: HttpServer) -> None:
    start = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: "

    assert ask(server, start + b"a" * (MAX_HEAD_BYTES - len(start) - 4) + b"\r\n\r\n")[0] == 200


def test_too_many_headers_are_refused(server: HttpServer) -> None:
    assert ask(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 200 + b"\r\n")[0] == 431


@pytest.mark.parametrize("request_line", [b"nonsense", b"GET / HTTP/9.9.9", b"\xff\xfe /metrics HTTP/1.1 x"])
def test_nonsense_is_refused(request_line: bytes, server: HttpServer) -> None:
    status, _, body = ask(server, request_line + b"\r\nHost: localhost\r\n\r\n")

    assert status in (400, 505)
    assert body == b"bad request\n"


def test_a_silent_peer_is_cut_off(monkeypatch: pytest.MonkeyPatch, server: HttpServer) -> None:
    monkeypatch.setattr(handler, "TIMEOUT_S", 0.05)
    with connect(server) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\n")

        assert sock.recv(100) == b""  # closed without an answer


def test_dripping_does_not_extend_the_deadline(monkeypatch: pytest.MonkeyPatch, server: HttpServer) -> None:
    monkeypatch.setattr(handler, "TIMEOUT_S", 0.05)
    with connect(server) as sock:
        sock.settimeout(0.01)  # a byte every 10 ms: each one comes well within the deadline
        assert any(drip(sock) for _ in range(200))


def drip(sock: socket.socket) -> bool:
    """Send one byte; True when the server has closed."""
    try:
        sock.sendall(b"x")
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_connections_past_the_limit_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MAX_CONNECTIONS", 2)
    entered, leave = threading.Semaphore(0), threading.Event()

    def slow(_: Request) -> Response:
        entered.release()
        assert leave.wait(10)
        return Response(b"slow\n")

    server = HttpServer("127.0.0.1", 0, {"/slow": slow})
    request = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
    try:
        with connect(server) as first, connect(server) as second:
            for sock in (first, second):
                sock.sendall(request)
                assert entered.acquire(timeout=10)  # both slots are taken now
            with connect(server) as third:
                assert third.recv(100) == b""
            leave.set()
            for sock in (first, second):
                assert b"slow" in b"".join(iter(lambda s=sock: s.recv(65536), b""))
    finally:
        leave.set()
        server.stop()


def test_who_says_nothing_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are cheap to open; a health check that finds no place has a server restarted that is well."""
    monkeypatch.setattr(listening, "MAX_CONNECTIONS", 2)
    server = HttpServer("127.0.0.1", 0, ROUTES)
    try:
        with connect(server) as first, connect(server) as second:
            first.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")  # a part of a request is none
            assert get(server, "/metrics")[2] == b"up 1\n"
            assert first.recv(100) == b""  # the oldest made room
            second.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"up 1" in b"".join(iter(lambda: second.recv(65536), b""))
    finally:
        server.stop()


def test_a_peer_that_hangs_up_disturbs_nobody(server: HttpServer, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(40):  # more than there are slots: each is given back
        with connect(server) as sock:
            sock.sendall(b"GET /met")
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100) == b""  # the slot's thread is done reading

    assert get(server, "/metrics")[0] == 200
    assert capfd.readouterr().err == ""


def test_stop_closes_the_port_and_may_be_repeated() -> None:
    server = HttpServer("127.0.0.1", 0, ROUTES)
    server.stop()
    server.stop()

    with pytest.raises(ConnectionRefusedError):
        connect(server)


def test_ipv6_loopback() -> None:
    try:
        server = HttpServer("::1", 0, ROUTES)
    except ConfigError:
        with pytest.raises(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):  # noqa: PT011
            pass  # no IPv6 on this machine
        return
    with socket.create_connection(("::1", server.port), timeout=5) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: [::1]\r\n\r\n")
        assert b"200" in sock.recv(100)
    server.stop()


def test_a_request_of_http_0_9_gets_an_answer_with_a_head(server: HttpServer) -> None:
    """Without one, nothing would tell a browser what it may do with the body."""
    status, headers, body = ask(server, b"GET /metrics\r\n\r\n")
    assert (status, body) == (505, b"bad request\n")
    assert headers["x-content-type-options"] == "nosniff"
