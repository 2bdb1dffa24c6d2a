"""The control socket of a client: a Unix socket (0600) in its state directory; one JSON object a line each way.

As with the server's, anybody who may open the file may ask; nothing of it is on the network.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from roughfed.errors import RoughfedError
from roughfed.transport.names import SOCKET

log = logging.getLogger(__name__)

MAX_REQUEST = 4096

Operations = Mapping[str, Callable[[], Awaitable[dict[str, Any]]]]


@asynccontextmanager
async def control_socket(folder: Path, operations: Operations) -> AsyncGenerator[None]:
    """Answer `{"op": NAME}` while the block runs; the caller holds the lock of the directory.

    Where the path is too long for a socket (108 bytes), or the file system has none, the client runs without one.
    """
    path = folder / SOCKET
    server: asyncio.Server | None = None
    try:
        path.unlink(missing_ok=True)  # left by a crash
        server = await asyncio.start_unix_server(partial(_serve, operations), path, limit=MAX_REQUEST)
        path.chmod(0o600)
    except OSError as error:
        log.info("no control socket for this client's operator at %s: %s", path, error.strerror or error)
    try:
        yield
    finally:
        if server is not None:
            server.close()
            path.unlink(missing_ok=True)


async def _serve(operations: Operations, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            request = json.loads(line)
            writer.write(json.dumps(await _answer(operations, str(request.get("op")))).encode() + b"\n")
            await writer.drain()
    except (ValueError, ConnectionError, AttributeError) as error:
        log.debug("the operator's connection ended: %s", error)
    except asyncio.CancelledError:
        return  # the client ends with an operator still there; asyncio would print a trace for it
    finally:
        writer.close()


async def _answer(operations: Operations, name: str) -> dict[str, Any]:
    if (operation := operations.get(name)) is None:
        return {"error": f"a client knows no operation {name[:40]!r}", "reason": "operation", "exit_code": 2}
    try:
        return await operation()
    except RoughfedError as error:
        told = {"error": str(error), "reason": error.reason, "exit_code": error.exit_code}
        return told | {"cure": getattr(error, "cure", "")}
