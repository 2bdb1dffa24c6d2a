"""What must happen to a state directory that comes out of a backup before a server may run on it.

The journal notes that it was put back (`roughfed.server.storage.rollback` acts on that). Open invites are void: one
that was used since would work a second time. Certificates that were issued since are in no list any more, and are
believed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roughfed.errors import StorageError
from roughfed.server.backup.snapshot import FORMAT, JOURNAL
from roughfed.server.defence.vouched import vouched
from roughfed.server.members.authority import DATABASE
from roughfed.server.members.member_file import MemberFile, put_back
from roughfed.server.storage.schema import SCHEMA
from roughfed.server.storage.store import Store
from roughfed.upgrade import NewerSchema

END_OF_TIME = 1 << 37
"""Unix seconds: some thousand years from now, as far as a calendar goes."""

MOST = 1 << 63
"""What SQLite takes for a number."""

MOST_WORDS = 80


@dataclass(frozen=True, slots=True)
class RestoreSource:
    """Where a state comes from.

    Attributes:
        run: its run; empty where none was started.
        version: the newest version of the model in it.
        made_at: when the backup was made, Unix seconds.
        software: version that made it.
        round: the newest round in it.
        schema: of its journal.
    """

    run: str
    version: int
    made_at: float
    software: str
    round: int
    schema: int


def origin_of(about: Mapping[str, Any]) -> RestoreSource:
    """What a backup says of itself.

    Raises:
        NewerSchema: a newer version made it.
        StorageError: it says nothing that makes sense.
    """
    numbers, texts = ("format", "round", "version", "schema"), ("software", "run")
    made_at = about.get("made_at")
    if (
        not all(type(about.get(key)) is int and 0 <= about[key] < MOST for key in numbers)
        or not all(isinstance(about.get(key), str) and about[key].isprintable() for key in texts)
        or type(made_at) is not float
        or not 0 <= made_at < END_OF_TIME
    ):
        raise StorageError("the backup does not say what it is")
    software, run, schema = about["software"][:MOST_WORDS], about["run"][:MOST_WORDS], about["schema"]
    if about["format"] > FORMAT or schema > len(SCHEMA):
        raise NewerSchema(
            f"roughfed {software!r} made this backup (format {about['format']}, schema {schema}); this version knows "
            f"format {FORMAT} and schema {len(SCHEMA)}"
        )
    return RestoreSource(run, about["version"], made_at, software, about["round"], schema)


def adapt(state: Path, origin: RestoreSource) -> int:
    """Make an unpacked state directory fit to run on; returns how many open invites are void now.

    Raises:
        StorageError: the disk refused, or a database is damaged.
    """
    now = time.time()
    if (state / JOURNAL).exists():
        with closing(Store(state)) as store:
            asyncio.run(_note(store, origin, now))
    if not (state / "ca" / DATABASE).exists():
        return 0
    members = MemberFile(state / "ca" / DATABASE)
    members.create()
    with members.writing() as db:
        return put_back(db, at=int(now))


def standing_vouches(state: Path) -> list[str]:
    """For whom the operator vouched when the backup was made: withdrawn since or not, it stands again."""
    if not (state / JOURNAL).exists():
        return []
    with closing(Store(state)) as store:
        return list(vouched(store.journal))


async def _note(store: Store, origin: RestoreSource, now: float) -> None:
    row = (origin.made_at, now, origin.round, origin.software)

    def work(db: sqlite3.Connection) -> None:
        if (found := db.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            raise StorageError(f"the journal in the backup is damaged: {str(found)[:200]}")
        db.execute("INSERT INTO restored (made_at, restored_at, round, software) VALUES (?, ?, ?, ?)", row)

    await store.journal.write(work)
