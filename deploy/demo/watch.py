"""Following a running server through its control socket (`{"op": "watch"}`): a status at every change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from roughfed.transport.names import SOCKET

LINE_BYTES = 1 << 20  # a status of 200 clients has about 40 KB


async def statuses(state: Path) -> AsyncIterator[dict[str, Any]]:
    """Each status of the server (`roughfed.server.observe.status`), until it closes the socket.

    Args:
        state: the server's state directory.
    """
    with suppress(OSError):  # the server is over: whoever waits for its process hears why
        reader, writer = await asyncio.open_unix_connection(state / SOCKET, limit=LINE_BYTES)
        try:
            writer.write(b'{"op": "watch"}\n')
            await writer.drain()
            while line := await reader.readline():
                yield json.loads(line)
        finally:
            writer.close()
