"""What a backup has of an edge's membership in the federation above, and what a restore makes of it.

In it are the papers, client.toml and what the client's half remembers; its models are fetched again, and of an open
round there is nothing (`roughfed.client.storage.restore` says why). It is taken after the moment of the server's
half: then the client's half may know of an answer that the server's half does not, and gives no other one; never
the reverse.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from roughfed.client.members import credential_files
from roughfed.client.storage.restore import DATABASE, restore
from roughfed.config import ClientConfig
from roughfed.deploy.edge.run import UPSTREAM, place_above
from roughfed.errors import ConfigError, StorageError
from roughfed.files import disk_errors
from roughfed.upgrade import copy_database

HELD = "backup"


@contextmanager
def held(folder: Path) -> Generator[Mapping[str, Path]]:
    """Name in a backup -> the file, of the membership above; empty where the directory is no edge.

    Args:
        folder: of the server; a backup of its state is under way, so there is no other one here.

    Raises:
        ConfigError: the papers are damaged. StorageError: the disk refused.
    """
    place = place_above(folder)
    if not credential_files.is_enrolled(place.papers):
        yield {}
        return
    into = place.folder / HELD
    with disk_errors(f"make {into}"):
        shutil.rmtree(into, ignore_errors=True)  # of a backup that was killed
        into.mkdir(mode=0o700)
    try:
        try:
            _hold_papers(place.papers, into)
        except ConfigError:  # the key was replaced just now, between two files
            _hold_papers(place.papers, into)
        found = {f"{UPSTREAM}/state/papers/{path.name}": path for path in sorted(into.iterdir())}
        if (settings := place.folder / ClientConfig.FILE).is_file():
            found[f"{UPSTREAM}/{settings.name}"] = settings
        if (source := place.state / DATABASE).is_file():
            _copy(source, into / DATABASE)
            found[f"{UPSTREAM}/state/{DATABASE}"] = into / DATABASE
        yield found
    finally:
        shutil.rmtree(into, ignore_errors=True)


def restored(folder: Path) -> bool:
    """Make an unpacked membership above fit to go on; whether there is one.

    Args:
        folder: with what was unpacked.

    Raises:
        StorageError: the disk refused, or a file is damaged.
    """
    place = place_above(folder)
    if not place.folder.exists():
        return False
    if (place.state / DATABASE).exists():
        restore(place.state)
    return True


def refuse(folder: Path) -> None:
    """Raise ConfigError where a membership above lies already."""
    place = place_above(folder)
    if place.folder.exists():
        raise ConfigError(
            "there is a membership in a federation above here already, and a restore writes over nothing",
            file=str(place.folder),
            cure="name an empty directory with --dir, or move this one away",
        )


def _hold_papers(papers: Path, into: Path) -> None:
    """Links to files that are only ever replaced whole, and that belong together."""
    with disk_errors(f"hold {papers}"):
        for name in (*credential_files.FILES, credential_files.RECORD):
            (into / name).unlink(missing_ok=True)
            try:
                os.link(papers / name, into / name)
            except PermissionError:  # a file system without hard links
                shutil.copy(papers / name, into / name)
    credential_files.load(into)


def _copy(source: Path, target: Path) -> None:
    try:
        with closing(sqlite3.connect(source, timeout=10.0)) as db:
            db.execute("PRAGMA query_only = ON")
            copy_database(db, target)
        with closing(sqlite3.connect(target, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = DELETE")  # one file
    except sqlite3.Error as error:
        raise StorageError(f"cannot read {source}: {error}") from error
