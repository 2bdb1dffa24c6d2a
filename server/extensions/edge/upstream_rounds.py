"""Orders of the federation above as the journal knows them: which version each begins with, and what came of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from roughfed import crash
from roughfed.files import disk_errors, place_durably, sync_file, write_at
from roughfed.params import Flat
from roughfed.server.extensions.edge.upstream import Order
from roughfed.server.storage.layout import SUMS
from roughfed.server.storage.lineage import Version, insert_version
from roughfed.server.storage.slices import Mean
from roughfed.server.storage.store import Store


def begun(store: Store, order: Order) -> Version | None:
    """The version that an order's model is here; None where it was never taken.

    By its model, not by its number: a round above that is abandoned is followed by one on the same model, and gets
    the same sum. Clients answer a few rounds on one model only, and would be asked for nothing new.
    """
    sql = (
        "SELECT version FROM orders JOIN models USING (version) WHERE orders.run = ? AND models.digest = ? "
        "ORDER BY version DESC LIMIT 1"
    )
    rows = store.journal.read(sql, order.run, order.digest)
    return store.lineage.version(rows[0]["version"]) if rows else None


def made(store: Store, base: Version) -> Version | None:
    """The version that a round on an order's model committed; None where none did yet."""
    sql = "SELECT MAX(version) AS version FROM models WHERE base = ? AND version NOT IN (SELECT version FROM orders)"
    (found,) = store.journal.read(sql, base.version)
    return None if found["version"] is None else store.lineage.version(found["version"])


async def take(store: Store, order: Order) -> Version:
    """Make an order's model the newest version, as which its round begins with it; one that is that already stays.

    Raises:
        StorageError: the disk refused.
    """
    known = begun(store, order)
    if known is None or known != store.lineage.head():
        await _place(order.params, store.model_path(order.digest))
        await _note(store, order)
        crash.point("order-adopted")
    for old in folder(store).iterdir():  # also half of one
        old.unlink(missing_ok=True)
    return store.lineage.head()


async def _note(store: Store, order: Order) -> None:
    version, now = store.latest_model()[0] + 1, time.time()

    def work(db: sqlite3.Connection) -> None:
        insert_version(db, version, order.digest, round_number=0, now=now)
        db.execute("INSERT INTO orders VALUES (?, ?, ?, ?)", (order.run, order.round, version, now))

    await store.journal.write(work)


def folder(store: Store) -> Path:
    """Where sums lie that go up."""
    place = store.folder / SUMS
    place.mkdir(exist_ok=True, mode=0o700)
    return place


def sum_path(store: Store, version: int) -> Path:
    """The sum behind a version that a round of an order committed."""
    return folder(store) / f"{version:08d}.f32"


@contextmanager
def written_down(store: Store, version: int, mean: Mean) -> Generator[Mean]:
    """The mean, written down while it is read; on disk when the block ends without an error.

    What goes up is the mean itself: the version made of it is rounded once more.
    """
    path = sum_path(store, version)
    partial = path.with_suffix(".partial")
    with disk_errors(f"write {path}"):
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def noted(start: int, stop: int) -> Flat:
        values = mean(start, stop)
        with disk_errors(f"write {path}"):
            write_at(fd, memoryview(values.astype("<f4", copy=False)).cast("B"), 4 * start)
        return values

    try:
        yield noted
        with disk_errors(f"write {path}"):
            os.fsync(fd)
    finally:
        os.close(fd)
    place_durably(partial, path)


async def _place(source: Path, path: Path) -> None:
    def work() -> None:
        if path.exists():
            return
        partial = path.with_suffix(".partial")
        with disk_errors(f"write {path}"):
            shutil.copyfile(source, partial)
        sync_file(partial)
        place_durably(partial, path)

    await asyncio.to_thread(work)
