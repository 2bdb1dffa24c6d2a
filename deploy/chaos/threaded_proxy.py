"""A bad line beside a program that is not asyncio's: the proxy in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager

from roughfed.deploy.chaos.faults import Faults
from roughfed.deploy.chaos.proxy import Counts, Proxy
from roughfed.errors import ConfigError


@contextmanager
def bad_line(target: tuple[str, int], faults: Faults, *, seed: int = 0) -> Generator[tuple[int, Counts]]:
    """A line to a target; cut when the block is left.

    Args:
        target: host and port.
        faults: of the line.
        seed: of its decisions.

    Yields:
        the port on this machine where it begins, and what has happened so far.

    Raises:
        ConfigError: no port is free.
    """
    began: Future[int] = Future()
    ended: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    proxy = Proxy(target, faults, seed=seed)

    async def serve() -> None:
        over = asyncio.Event()
        try:
            port = await proxy.start()
        except ConfigError as error:
            began.set_exception(error)
            return
        ended.set_result((asyncio.get_running_loop(), over))
        began.set_result(port)
        await over.wait()
        await proxy.stop()

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            began.cancel()  # only if it never began

    thread = threading.Thread(target=run, name="bad-line", daemon=True)
    thread.start()
    port = began.result()
    try:
        yield port, proxy.counts
    finally:
        loop, over = ended.result()
        loop.call_soon_threadsafe(over.set)
        thread.join()
