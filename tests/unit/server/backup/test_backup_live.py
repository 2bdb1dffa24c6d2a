"""A backup of a running server, through its control socket: it goes on, and lets go when the other end does."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from roughfed.config.federation import FederationConfig
from roughfed.crypto.identity import IdentityKey
from roughfed.errors import StorageError
from roughfed.server.backup import snapshot as module
from roughfed.server.backup.snapshot import Moment
from roughfed.server.observe.control import Control
from roughfed.server.observe.health.active_alerts import Health
from roughfed.server.observe.status import Status
from roughfed.server.uploads.spool import update_name
from roughfed.transport.names import SOCKET
from tests.server_context import context
from tests.unit.backed_up import RUN, SPEC, Site

KEY = IdentityKey.from_private_bytes(bytes([1]) * 32)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "server")
    yield made
    made.store.close()


@asynccontextmanager
async def served(site: Site) -> AsyncIterator[Path]:
    """A server's control socket, without a server around it."""
    with ThreadPoolExecutor(1) as executor:
        ctx = context(FederationConfig(), site.store, KEY, executor, SPEC, run=RUN)
        async with Control(ctx, Status(ctx, Health(ctx)), lambda: None).serve(site.state):
            yield site.state / SOCKET


@asynccontextmanager
async def asked(path: Path, op: str) -> AsyncIterator[Any]:
    """A question; gives the function that waits for the answer."""
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
    writer.write(json.dumps({"op": op}).encode() + b"\n")
    await writer.drain()

    async def answer() -> dict[str, Any]:
        return json.loads(await reader.readline())

    try:
        yield answer
    finally:
        writer.write_eof()
        await reader.read()  # the server has let go, and closed
        writer.close()


def test_the_server_answers_and_commits_while_its_journal_is_copied(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, copy = threading.Event(), module.copy_database

    def slow(*args: Any) -> None:
        assert door.wait(20)
        copy(*args)

    monkeypatch.setattr(module, "copy_database", slow)

    async def scenario() -> dict[str, Any]:
        async with served(site) as path, asked(path, "backup") as backup:
            async with asked(path, "status") as status:
                assert (await status())["run"] == RUN
            await site.store.abandon(3, "too-few", 9.0)
            await site.commit(4)
            door.set()
            return await backup()

    found = asyncio.run(scenario())
    assert (found["about"]["round"], found["about"]["version"]) == (3, 2)
    assert site.store.latest_model()[0] == 4


def test_it_lets_go_when_the_other_end_does(site: Site) -> None:
    async def scenario() -> None:
        async with served(site) as path:
            for _ in range(2):
                async with asked(path, "backup") as backup:
                    assert "files" in await backup()
                    assert (site.state / "backup" / "journal.db").exists()
                    async with asked(path, "backup") as second:
                        assert "under way" in (await second())["error"]
                assert not (site.state / "backup").exists()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_disk_that_refuses_is_an_answer_and_leaves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise StorageError("cannot write: No space left on device")

    monkeypatch.setattr(Moment, "copy", refuses)

    async def scenario() -> dict[str, Any]:
        async with served(site) as path, asked(path, "backup") as backup:
            return await backup()

    assert asyncio.run(scenario())["reason"] == "storage"
    assert not (site.state / "backup").exists()


def test_the_moment_itself_is_short(site: Site) -> None:
    """All that happens on the event loop: a thousand updates of an open round cost less than any deadline notices."""
    many = range(1000)
    rows = [(3, f"client-{n:04}", bytes(32), 28, b"", b"", b"", 1.0, None) for n in many]
    sql = "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    asyncio.run(site.store.journal.write(lambda db: db.executemany(sql, rows)))
    for n in many:
        (site.state / "spool" / update_name(RUN, 3, f"client-{n:04}")).write_bytes(b"x")
    began = time.process_time()
    moment = Moment.pin(site.state)
    spent = time.process_time() - began
    moment.discard()
    print(f"pinned {len(moment.files)} files in {spent * 1000:.0f} ms of CPU")
    assert len(moment.files) > len(many)
    assert spent < 1.0
