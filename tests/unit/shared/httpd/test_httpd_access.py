"""Who may ask: the token, its tries, and what every answer forbids a browser to do."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator

import pytest

from roughfed.charts import PLOT_STYLE
from roughfed.httpd import Access, HttpServer, Request, Response
from roughfed.httpd.access import EACH, is_foreign, network_of
from roughfed.httpd.handler import MAX_FIELDS
from tests.unit.shared.httpd.test_httpd import ask, get

TOKEN = "correct-horse-battery-staple-0123456789"
LONG = b"0123456789" * 500


def request(given: str | None, *, path: str = "/api/status", peer: str = "192.0.2.1") -> Request:
    return Request(path, {}, {} if given is None else {"authorization": given}, peer)


def access() -> Access:
    return Access(TOKEN, open_paths={"/", "/healthz"}, clock=lambda: 0.0)


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN} "])
def test_the_token_opens(given: str) -> None:
    assert access().refusal(request(given)) is None


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
     f"Bearer {TOKEN.upper()}", "Bearer \udcff\x00", "Bearer é"],
)  # fmt: skip
def test_anything_else_is_401_and_says_how(given: str | None) -> None:
    answer = access().refusal(request(given))
    assert answer is not None
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert TOKEN.encode() not in answer.body


def test_open_paths_need_none_and_no_other_path_passes_for_one() -> None:
    assert access().refusal(request(None, path="/healthz")) is None
    for path in ("/healthz/", "//", "/metrics", "", "/healthz%00"):
        assert access().refusal(request(None, path=path)) is not None


def test_wrong_tries_are_limited_and_counted_and_lock_out_nobody(caplog: pytest.LogCaptureFixture) -> None:
    guarded = access()
    with caplog.at_level(logging.WARNING):
        found = [guarded.refusal(request("Bearer wrong")) for _ in range(int(EACH.burst) + 3)]
    assert [answer.status for answer in found if answer] == [401] * int(EACH.burst) + [429] * 3
    assert guarded.refused == len(found)
    assert guarded.refusal(request(f"Bearer {TOKEN}")) is None  # the operator, behind the same proxy
    assert len(caplog.records) == EACH.burst
    assert "wrong" not in caplog.text.replace("a wrong token", "")  # what was tried is not logged
    assert guarded.refusal(request("Bearer wrong", peer="192.0.2.2")).status == 401  # pyright: ignore[reportOptionalMemberAccess]


def test_no_token_is_no_try() -> None:
    guarded = access()
    assert {guarded.refusal(request(None)).status for _ in range(50)} == {401}  # pyright: ignore[reportOptionalMemberAccess]
    assert guarded.refused == 0


def test_one_host_has_one_bucket() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1%eth0") == "2001:db8::/64"
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("nonsense") == "nonsense"


@pytest.mark.parametrize(
    ("site", "mode", "foreign"),
    [("cross-site", "no-cors", True), ("same-site", "cors", True), ("cross-site", "navigate", False),
     ("same-origin", "cors", False), ("none", "navigate", False), ("", "", False)],
)  # fmt: skip
def test_other_sites_may_link_here_and_nothing_else(site: str, mode: str, foreign: bool) -> None:
    assert is_foreign(Request("/", headers={"sec-fetch-site": site, "sec-fetch-mode": mode})) is foreign


ANSWERED: list[tuple[str, int]] = []


def echo(found: Request) -> Response:
    return Response(repr((sorted(found.query.items()), found.headers.get("x"), found.peer)).encode())


@pytest.fixture
def server() -> Iterator[HttpServer]:
    ANSWERED.clear()
    routes = {"/echo": echo, "/long": lambda _: Response(LONG)}
    guarded = Access(TOKEN, open_paths=routes)
    server = HttpServer("127.0.0.1", 0, routes, access=guarded, on_answered=lambda *what: ANSWERED.append(what))
    yield server
    server.stop()


def test_a_page_sees_query_headers_and_peer(server: HttpServer) -> None:
    head = b"GET /echo?a=1&b=%20x&a=2&c HTTP/1.1\r\nHost: localhost\r\nX: one\r\nx: two\r\n\r\n"
    assert ask(server, head)[2] == b"([('a', '1'), ('b', ' x'), ('c', '')], 'one', '127.0.0.1')"


@pytest.mark.parametrize("path", ["/echo?" + "&".join("abcdefghijklmnopqrstuvwxyz"), "http://[/"])
def test_a_query_of_many_fields_or_a_path_that_is_none_is_refused(server: HttpServer, path: str) -> None:
    assert path.count("&") > MAX_FIELDS or "[" in path
    assert get(server, path)[0] == 400


def test_every_answer_forbids_what_a_page_does_not_need(server: HttpServer) -> None:
    for path in ("/echo", "/nothing", "/long"):
        _, headers, _ = get(server, path)
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'", "script-src": "'self'", "style-src": f"'self' {PLOT_STYLE}",
            "connect-src": "'self'",
            "img-src": "data:", "base-uri": "'none'", "frame-ancestors": "'none'", "form-action": "'none'",
        }  # fmt: skip
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_a_page_of_another_site_cannot_hold_a_place(server: HttpServer) -> None:
    head = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n\r\n"
    assert ask(server, head)[0] == 403


def test_answers_are_counted_by_page_and_code(server: HttpServer) -> None:
    get(server, "/echo?a=/secret")
    get(server, "/nothing")
    ask(server, b"nonsense\r\n\r\n")
    get(server, "/echo", host="evil.example")
    assert ANSWERED == [("/echo", 200), ("other", 401), ("other", 400), ("/echo", 403)]


def test_long_bodies_are_packed_where_the_peer_can_read_it(server: HttpServer) -> None:
    _, headers, body = ask(server, b"GET /long HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip, br\r\n\r\n")
    assert headers["content-encoding"] == "gzip"
    assert int(headers["content-length"]) == len(body) < len(LONG)
    assert gzip.decompress(body) == LONG
    _, headers, body = get(server, "/long")
    assert ("content-encoding" in headers, body) == (False, LONG)
    assert headers["vary"] == "Accept-Encoding"
