"""The HTTP port of a server: the status page and what it reads, /metrics and /healthz.

Bound elsewhere than loopback, all that says anything asks for the token in `state/http.token`. The page itself holds no
data: it comes without a token, asks the person for it, and sends it with everything that it reads.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from roughfed.errors import ConfigError
from roughfed.files import disk_errors, write_durably
from roughfed.httpd import Access, EventStream, HttpServer, Page, Request, Response, health
from roughfed.server.context.server import ServerContext
from roughfed.server.observe import page
from roughfed.server.observe.round_history import Played
from roughfed.server.observe.status import Status
from roughfed.server.observe.status_feed import Published
from roughfed.telemetry import CONTENT_TYPE

TOKEN_FILE = "http.token"  # noqa: S105 (its name)
TOKEN_BYTES = 32
MAX_TOKEN = 512
JSON = "application/json"
BUSY = Response(b"the server is busy\n", status=503, headers={"Retry-After": "2"})


def start_http(ctx: ServerContext, status: Status, stack: AsyncExitStack) -> int:
    """Serve until the stack unwinds; returns the port.

    Raises:
        ConfigError: the address cannot be bound, or the token's file holds none.
        StorageError: that file cannot be read or written.
    """
    server, folder = ctx.config.server, ctx.store.folder
    published, played = Published(ctx, status), Played(folder, ctx.config)
    files = page.files()
    access = Access(token(folder), open_paths={*files, "/healthz"}) if server.asks_for_token else None
    http = HttpServer(
        server.http_host,
        server.http_port,
        {**files, **reads(ctx, published, played)},
        access=access,
        on_answered=counted(ctx),
    )
    keeping = asyncio.create_task(published.keep())
    stack.callback(played.close)
    stack.callback(http.stop)
    stack.push_async_callback(published.stop)
    stack.callback(keeping.cancel)
    return http.port


def reads(ctx: ServerContext, published: Published, played: Played) -> dict[str, Page]:
    """Path -> page, of all that says something of the run."""

    def metrics(_: Request) -> Response:
        return Response(ctx.metrics.render(), CONTENT_TYPE)

    def healthz(_: Request) -> Response:
        round_ = ctx.state.round
        checks = {"serving": not ctx.state.stopping, "responding": published.responds()}
        return health(checks, phase=ctx.state.phase, round=0 if round_ is None else round_.number)

    def status(_: Request) -> Response:
        found = published.current()
        return BUSY if found is None else Response(found, JSON)

    def rounds(request: Request) -> Response:
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) <= 12):
            return Response(b"after is the number of a round\n", status=400)
        return Response(played.after(int(after), {"transfer": ctx.metrics.transferred()}), JSON)

    def events(_: Request) -> EventStream:
        return EventStream(published.feed)

    return {
        "/metrics": metrics,
        "/healthz": healthz,
        "/api/status": status,
        "/api/rounds": rounds,
        "/api/events": events,
    }


def counted(ctx: ServerContext) -> Callable[[str, int], None]:
    """Counts the answers by page and code."""

    def on_answered(path: str, status: int) -> None:
        ctx.metrics.http(path, status)

    return on_answered


def token(folder: Path) -> str:
    """The token of a state directory; made at the first call, and kept.

    Raises:
        ConfigError: the file holds none.
        StorageError: it cannot be read or written.
    """
    path = folder / TOKEN_FILE
    if not path.exists():
        write_durably(path, secrets.token_urlsafe(TOKEN_BYTES).encode() + b"\n", mode=0o600)
    with disk_errors(f"read {path}"):
        with suppress(OSError):  # a secret that a container engine mounts is read-only, and whose it is, it says
            path.chmod(0o600)
        found = path.read_bytes()[:MAX_TOKEN].decode("latin-1").strip()
    if len(found) < TOKEN_BYTES or not (found.isascii() and found.isprintable()) or " " in found:
        raise ConfigError(
            f"this is no token: at least {TOKEN_BYTES} characters, no spaces",
            file=str(path),
            key="server.http_token",
            cure="delete the file: the next start makes a new token",
        )
    return found
