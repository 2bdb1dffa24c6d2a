"""A client's memory that comes out of a backup, before a client may go on with it.

A backup has nothing of an open round: no secret, no promised bytes. So a restored client says nothing a second time
that hangs together with what it said before. In the clear it may answer again, with the same bytes or none
(`ClientStore.save_update`); a masked round that it knows it sits out. Of rounds since the backup it knows nothing: its
keys for them are new ones, and the server has taken the former ones and takes no others.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from roughfed.client.storage.store import ClientStore
from roughfed.errors import StorageError
from roughfed.wire.session import decode_header

DATABASE = "client.db"


def restore(folder: Path) -> None:
    """Sit out the masked rounds that the restored memory in `folder` knows.

    Raises:
        StorageError: the disk refused, or the file is damaged.
        NewerSchema: a newer version wrote it.
    """
    with closing(ClientStore(folder)) as store:
        asyncio.run(_sit_out(store))


async def _sit_out(store: ClientStore) -> None:
    def work(db: sqlite3.Connection) -> None:
        if (found := db.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            raise StorageError(f"the client's memory in the backup is damaged: {str(found)[:200]}")
        for row in db.execute("SELECT run, round, header FROM seen").fetchall():
            if decode_header(row["header"]).masked:
                known = (row["run"], row["round"])
                db.execute("DELETE FROM updates WHERE run = ? AND round = ?", known)
                db.execute("INSERT OR IGNORE INTO rounds_used VALUES (?, ?)", known)

    await store.journal.write(work)
