"""Databases of older versions: brought to the schema of this one in one transaction, with a copy of what was there.

A schema is a row of scripts, one a version of it; which were run is the file's `user_version`. A file of a newer
version is refused: what this one does not know of it, it could only damage.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from roughfed.errors import StorageError
from roughfed.files import disk_errors, place_durably, sync_file
from roughfed.lock import held_elsewhere

log = logging.getLogger(__name__)

PAGES = 1024
"""Pages that are copied between two looks at how far the copy is: 4 MiB."""


class NewerSchema(StorageError):
    """A newer version wrote the file."""

    reason = "newer-schema"
    exit_code = 9
    cure = "install the version that wrote it, or restore a backup of an older one"


def upgrade(db: sqlite3.Connection, steps: Sequence[str], path: Path) -> None:
    """Bring a database to schema `len(steps)`: all steps that are missing, or none.

    The file as it was is kept beside it as `NAME.schema-K`.

    Args:
        db: a connection in autocommit mode, with rows by name.
        steps: scripts, one a schema version.
        path: of the file.

    Raises:
        NewerSchema: the file was written by a newer version.
        StorageError: the disk refused or is too full, or a process of an older version works on the file; nothing was
            changed.
    """
    found, wanted = version_of(db), len(steps)
    if found > wanted:
        raise NewerSchema(f"{path} was written by a newer roughfed (schema {found}, this one knows {wanted})")
    if found == wanted:
        return
    kept = None
    try:
        with _alone(db):
            found = version_of(db)  # again: another process may have come first
            if 0 < found < wanted:
                kept = _keep(path, found)
            for statement in (each for script in steps[found:] for each in statements(script)):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {wanted}")
    except sqlite3.Error as error:
        what = f"cannot bring {path} from schema {found} to {wanted}, nothing was changed"
        raise StorageError(f"{what}: {error}") from error
    if kept is not None:
        log.warning("%s is now of schema %d; as it was, of schema %d, it is kept as %s", path, wanted, found, kept.name)


@contextmanager
def _alone(db: sqlite3.Connection) -> Generator[None]:
    """One transaction that nobody else writes beside; an error undoes it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def version_of(db: sqlite3.Connection) -> int:
    """How many steps of its schema a database has behind it."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one at a time: run as a script they would end the transaction around them."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            if statement.strip(" \n;"):
                yield statement
            statement = ""


def copy_database(db: sqlite3.Connection, target: Path, on_pages: Callable[[int, int], None] | None = None) -> None:
    """Write what a connection sees to a new file of its own (0600), whole and synced or not there.

    While it runs others may write. A connection that is inside a read transaction gives what it saw when that began.

    Args:
        db: the connection.
        target: the file; one that is there is replaced.
        on_pages: told (pages that are left, pages in all).

    Raises:
        StorageError: the disk refused.
    """
    fresh = target.with_name(target.name + ".tmp")

    def progress(_: int, left: int, pages: int) -> None:
        if on_pages is not None:
            on_pages(left, pages)

    try:
        with disk_errors(f"write {fresh}"):
            fresh.unlink(missing_ok=True)
            fresh.touch(mode=0o600)
        with closing(sqlite3.connect(fresh)) as into:
            db.backup(into, pages=PAGES if on_pages is not None else -1, progress=progress)
        sync_file(fresh)
        place_durably(fresh, target)
    except (sqlite3.Error, StorageError) as error:
        with suppress(OSError):  # a full disk gets its bytes back
            fresh.unlink(missing_ok=True)
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot write {target}: {error}") from error


def _keep(path: Path, found: int) -> Path:
    """A copy of the file as it is, while this process alone may write it.

    One that is there is replaced: it is of an earlier try, or of an upgrade that was taken back and played on since.
    """
    if other := held_elsewhere(path.parent):
        raise StorageError(
            f"{path} is of an older schema, {found}, and a process of that version works on it ({other}): stop it first"
        )
    kept = path.with_name(f"{path.name}.schema-{found}")
    with disk_errors(f"read {path}"):
        size = path.stat().st_size
        free = shutil.disk_usage(path.parent).free
    if free < 2 * size:  # the copy, and the pages that the steps write anew
        raise StorageError(
            f"cannot bring {path} to the schema of this version, nothing was changed: it takes {2 * size:,} bytes on "
            f"its disk, and {free:,} are free"
        )
    with closing(sqlite3.connect(path)) as db:
        copy_database(db, kept)
    return kept
