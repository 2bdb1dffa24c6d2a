"""The server's HTTP port: its routes, its token, and a status that only the event loop makes."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from roughfed.config.federation import FederationConfig
from roughfed.config.server import Server
from roughfed.crypto.identity import IdentityKey
from roughfed.deploy.cli.command import CommandContext
from roughfed.deploy.cli.server import announce
from roughfed.errors import ConfigError
from roughfed.server.app import Ports
from roughfed.server.context.server import ServerContext
from roughfed.server.metrics import ServerMetrics
from roughfed.server.observe import status_feed
from roughfed.server.observe.health.active_alerts import Health
from roughfed.server.observe.http import TOKEN_FILE, start_http, token
from roughfed.server.observe.status import Status
from roughfed.server.storage.store import Store
from roughfed.types import Spec, TensorSpec
from tests.server_context import context
from tests.unit.shared.httpd.test_httpd import ask as ask_server
from tests.unit.shared.httpd.test_httpd_feed import read_until

KEY = IdentityKey.from_private_bytes(bytes([1]) * 32)
Ask = Callable[..., Awaitable[tuple[int, dict[str, str], bytes]]]


class Port:
    """What `tests.unit.shared.httpd.test_httpd.ask` wants of a server."""

    def __init__(self, port: int) -> None:
        self.port = port


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    asyncio.run(store.create_run("run-1", Spec((TensorSpec("w", (10,)),)), bytes(32), 0.0))
    yield store
    store.close()


def with_port(
    store: Store, work: Callable[[ServerContext, int, Ask], Awaitable[None]], kind: type[Status] = Status, **server: Any
) -> None:
    """Run `work` beside the HTTP port of a federation, whose status is of this kind."""

    async def run() -> None:
        config = FederationConfig(server=Server(http_port=0, **server))
        spec = Spec((TensorSpec("w", (10,)),))
        with ThreadPoolExecutor(1) as executor:
            ctx = context(config, store, KEY, executor, spec)
            async with AsyncExitStack() as stack:
                port = start_http(ctx, kind(ctx, Health(ctx)), stack)

                async def ask(path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
                    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
                    request = "\r\n".join(lines).encode()
                    return await asyncio.to_thread(ask_server, Port(port), request)  # pyright: ignore[reportArgumentType]

                await work(ctx, port, ask)

    asyncio.run(run())


def test_each_page_is_there(store: Store) -> None:
    async def work(ctx: ServerContext, _: int, ask: Ask) -> None:
        for path, kind in {
            "/": "text/html", "/page.js": "text/javascript", "/charts.css": "text/css",
            "/words.json": "application/json",
            "/metrics": "text/plain; version=", "/healthz": "application/json", "/api/status": "application/json",
            "/api/rounds": "application/json",
        }.items():  # fmt: skip
            status, headers, body = await ask(path)
            assert (status, headers["content-type"].startswith(kind)) == (200, True), path
            assert body
        found = json.loads((await ask("/api/status"))[2])
        assert (found["run"], found["phase"]) == ("run-1", "waiting")
        assert found["phase_seconds"].keys() == {"waiting"}
        assert json.loads((await ask("/api/rounds?after=0"))[2])["rounds"] == []
        assert (await ask("/api"))[0] == (await ask("/__init__.py"))[0] == (await ask("/../pages.py"))[0] == 404

    with_port(store, work)


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "%C2%B2", "9" * 13, ""])
def test_a_round_is_a_number(store: Store, after: str) -> None:
    async def work(_: ServerContext, __: int, ask: Ask) -> None:
        assert (await ask(f"/api/rounds?after={after}"))[0] == 400

    with_port(store, work)


def test_the_status_is_made_by_the_event_loop_and_not_for_everybody_anew(store: Store) -> None:
    makers: list[int] = []

    class Counted(Status):
        def __call__(self) -> dict[str, Any]:
            makers.append(threading.get_ident())
            return super().__call__() | {"loss": float("nan")}

    async def work(_: ServerContext, __: int, ask: Ask) -> None:
        assert makers == []  # nobody asked yet
        answers = await asyncio.gather(*(ask("/api/status") for _ in range(8)))
        assert [answer[0] for answer in answers] == [200] * 8
        assert set(makers) == {threading.get_ident()}
        assert len(makers) <= 2
        assert json.loads(answers[0][2])["loss"] is None  # JSON knows no NaN

    with_port(store, work, Counted)


def test_a_server_that_hangs_is_not_well(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port has threads of its own: it would go on answering for a server that does nothing any more."""
    monkeypatch.setattr(status_feed, "ALIVE_S", 0.1)

    async def work(_: ServerContext, port: int, ask: Ask) -> None:
        assert (await ask("/healthz"))[0] == 200
        with ThreadPoolExecutor(1) as thread:
            request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            asked = thread.submit(ask_server, Port(port), request)  # pyright: ignore[reportArgumentType]
            status, _, body = asked.result(10)  # and the event loop waits for it
        assert (status, json.loads(body)["checks"]) == (503, {"serving": True, "responding": False})
        monkeypatch.undo()
        assert (await ask("/healthz"))[0] == 200

    with_port(store, work)


def test_a_status_that_cannot_be_made_costs_an_answer_and_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [True]

    class Fragile(Status):
        def __call__(self) -> dict[str, Any]:
            if broken:
                raise KeyError("a bug")
            return super().__call__()

    monkeypatch.setattr(status_feed, "ANSWER_S", 0.2)

    async def work(_: ServerContext, __: int, ask: Ask) -> None:
        assert (await ask("/api/status"))[0] == 503
        broken.clear()
        while (await ask("/api/status"))[0] != 200:
            pass

    with_port(store, work, Fragile)


def test_watchers_hear_of_changes_at_a_bounded_rate_and_of_the_end(store: Store) -> None:
    async def work(ctx: ServerContext, port: int, _: Ask) -> None:
        link = links.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        link.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        first = await asyncio.to_thread(read_until, link, b'event: round\ndata: {"round":0}\n\n')
        assert b"event: status\ndata: {" in first
        for number in range(50):
            ctx.state.phase = f"phase-{number}"
            ctx.state.changed()
            await asyncio.sleep(0)
        found = await asyncio.to_thread(read_until, link, b"phase-49")
        assert found.count(b"event: status") <= 2
        ctx.state.phase = "over"
        last.append(threads.submit(read_until, link, b"event: end\ndata: {}\n\n"))

    last: list[Future[bytes]] = []
    with ExitStack() as links, ThreadPoolExecutor(1) as threads:
        with_port(store, work)
        assert b'"phase":"over"' in last[0].result(20)


# -- the token ---------------------------------------------------------------------------------------------------------


def test_beyond_loopback_all_that_says_something_asks_for_the_token(store: Store) -> None:
    async def work(ctx: ServerContext, _: int, ask: Ask) -> None:
        path = store.folder / TOKEN_FILE
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        given = path.read_text().strip()
        assert len(given) >= 43  # 256 bits
        for open_path in ("/", "/page.js", "/charts.css", "/words.json", "/healthz"):
            assert (await ask(open_path))[0] == 200, open_path
        for closed in ("/metrics", "/api/status", "/api/rounds", "/api/events", "/nothing"):
            status, headers, body = await ask(closed)
            assert (status, "Bearer" in headers["www-authenticate"]) == (401, True), closed
            assert b"run-1" not in body
            assert (await ask(closed, "Authorization: Bearer x"))[0] in (401, 429)
        for closed in ("/metrics", "/api/status", "/api/rounds"):
            assert (await ask(closed, f"Authorization: Bearer {given}"))[0] == 200
        assert (await ask("/api/status?token=" + given))[0] == 401  # never in an address

    with_port(store, work, http_host="0.0.0.0")


def test_on_loopback_it_is_asked_for_when_the_operator_wants_it(store: Store) -> None:
    async def work(_: ServerContext, __: int, ask: Ask) -> None:
        assert (await ask("/api/status"))[0] == 401

    with_port(store, work, http_token=True)
    assert Server().asks_for_token is False
    assert Server(http_host="192.0.2.7").asks_for_token is True


def test_a_token_is_made_once_and_its_file_kept_narrow(tmp_path: Path) -> None:
    first = token(tmp_path)
    (tmp_path / TOKEN_FILE).chmod(0o644)
    assert token(tmp_path) == first
    assert stat.S_IMODE((tmp_path / TOKEN_FILE).stat().st_mode) == 0o600
    other = tmp_path / "other"
    other.mkdir()
    assert token(other) != first


def test_a_token_that_a_container_is_given_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mounted secret is read-only, and may belong to root."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    (tmp_path / TOKEN_FILE).write_text("Zm9v+/YmFy" * 5 + "==\n")
    monkeypatch.setattr(Path, "chmod", refused)
    assert token(tmp_path) == "Zm9v+/YmFy" * 5 + "=="


@pytest.mark.parametrize(
    "text", ["", "short", "with spaces in it and long enough for a token", "ü" * 50, "a" * 20 + "\x00" * 20]
)
def test_a_file_that_holds_no_token_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / TOKEN_FILE).write_text(text)
    with pytest.raises(ConfigError) as info:
        token(tmp_path)
    assert info.value.file.endswith(TOKEN_FILE)
    assert info.value.key == "server.http_token"
    assert "delete" in info.value.cure


def test_bytes_by_codec_are_those_of_the_metrics() -> None:
    metrics = ServerMetrics(labels={"codec": ("lanes", "int8")})
    metrics.transfer("up", 1000, 4000, "lanes")
    metrics.transfer("down", 30, 120, "int8")
    found = [row for row in metrics.transferred() if row["bytes"]]
    assert sorted(found, key=str) == [
        {"codec": "int8", "direction": "down", "bytes": 30.0},
        {"codec": "lanes", "direction": "up", "bytes": 1000.0},
    ]


@pytest.mark.parametrize(
    ("server", "page"),
    [
        ({}, "http://127.0.0.1:9001/"),
        ({"http_host": "::1"}, "http://[::1]:9001/"),
        ({"http_host": "0.0.0.0", "address": "fed.example.org:8443"}, "http://fed.example.org:9001/"),
        ({"http_host": "::"}, f"http://{socket.gethostname()}:9001/"),
        ({"http_host": "192.0.2.7"}, "http://192.0.2.7:9001/"),
    ],
)
def test_a_server_says_where_the_page_is_and_of_the_token_only_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], server: dict[str, str], page: str
) -> None:
    (tmp_path / "state").mkdir()
    secret = token(tmp_path / "state")
    config = FederationConfig(server=Server(**server))  # pyright: ignore[reportArgumentType]
    announce(CommandContext(tmp_path), config, Ports(8443, 8444, 9001))
    said = capsys.readouterr().out
    assert page in said
    assert secret not in said
    assert (str(tmp_path / "state" / TOKEN_FILE) in said) == config.server.asks_for_token
