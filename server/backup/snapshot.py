"""A copy of the state directory as it was at one moment, while rounds go on.

The moment is a read transaction on the journal, and in the same breath (nothing is deleted meanwhile: both happen on
the server's event loop, or nobody else has the directory) hard links to every file that this journal speaks of, in a
folder beside them. None of these files ever changes, so whatever is deleted or written later, the links have what the
journal says. Then the databases are copied by SQLite's online backup, the journal out of that read transaction.

What is left out: what a server makes anew (traces, logs, ports, the page's token, extra rows of the defence), and of a
masked round that is open whatever its clients said: it is given up in any case (`roughfed.server.storage.rollback`).
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roughfed import __version__
from roughfed.errors import ConfigError, StorageError
from roughfed.files import disk_errors
from roughfed.messages import PROTOCOL
from roughfed.server.members.authority import DATABASE
from roughfed.server.model.frozen import FILE as BASE
from roughfed.server.storage.layout import LEDGER, SCORING_PLAN, SUMS
from roughfed.server.uploads.spool import update_name
from roughfed.upgrade import copy_database, version_of
from roughfed.wire.session import decode_header

FOLDER, JOURNAL = "backup", "journal.db"
FORMAT = 1
KEYS = re.compile(r"(ca|papers|ca-papers)/[a-z-]+\.key")
"""Private keys: of the CA, of the server's TLS, and the one that signs headers."""

OF_VERSION = re.compile(r"(\d{8})\.(delta|error|opt-[a-z-]+)|calibrated-(\d+)\.kept")
"""Files of a version of the model that are named by its number."""

SUM = re.compile(r"(\d{8})\.f32")


@dataclass
class Moment:
    """The state directory at one moment.

    Attributes:
        folder: with the links and the copies.
        about: what the backup says of itself, without its files.
        files: place in the state directory -> bytes, of what is in `folder` under the same name.
    """

    folder: Path
    about: dict[str, Any] = field(default_factory=dict[str, Any])
    files: dict[str, int] = field(default_factory=dict[str, int])
    _state: Path = Path()
    _pinned: sqlite3.Connection | None = None
    _masked: bool = False
    _made: set[Path] = field(default_factory=set[Path])

    @classmethod
    def pin(cls, state: Path) -> Moment:
        """Hold on to this moment; nothing may be deleted in `state` while this runs.

        Raises:
            ConfigError: there is nothing to back up, or a backup is under way.
            StorageError: the disk refused.
        """
        if not (state / JOURNAL).exists() and not (state / "ca" / DATABASE).exists():
            raise ConfigError(
                "there is no state here to back up", file=str(state.parent.absolute()), cure="name it with --dir"
            )
        folder = state / FOLDER
        with disk_errors(f"make {folder}"):
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                raise ConfigError("a backup is under way here", file=str(state.parent), cure="wait for it") from None
        moment = cls(folder, _state=state)
        try:
            moment._hold()
        except BaseException:
            moment.discard()
            raise
        return moment

    def copy(self, on_pages: Callable[[int, int], None] | None = None) -> None:
        """Copy the databases; from any thread. Afterwards all of `files` is in `folder`.

        Raises:
            StorageError: the disk refused.
        """
        if self._pinned is not None:
            target = self.folder / JOURNAL
            copy_database(self._pinned, target, on_pages)
            self._pinned.close()
            self._pinned = None
            _tidy(target, masked=self._masked)
            self.files[JOURNAL] = target.stat().st_size
        if (source := self._state / "ca" / DATABASE).exists():
            target = self.folder / "ca" / DATABASE
            with disk_errors(f"read {source}"), closing(_reading(source)) as db:
                copy_database(db, target)
            self.files[f"ca/{DATABASE}"] = target.stat().st_size

    def discard(self) -> None:
        """Let go; what was deleted meanwhile is gone now."""
        if self._pinned is not None:
            self._pinned.close()
            self._pinned = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _hold(self) -> None:
        self.about = {
            "format": FORMAT,
            "made_at": time.time(),
            "software": __version__,
            "protocol": PROTOCOL,
            "run": "",
            "round": 0,
            "version": 0,
            "schema": 0,
            "open_round": False,
            "server_sees": "",
        }
        if (path := self._state / JOURNAL).exists():
            self._pinned = _reading(path)
            self._pinned.execute("BEGIN")
            self._read(self._pinned)
        for folder in ("papers", "ca", "ca-papers"):
            for source in _files(self._state / folder):
                if not source.name.startswith(DATABASE):
                    self._link(source)

    def _read(self, db: sqlite3.Connection) -> None:
        """What the journal speaks of, linked."""
        self.about["schema"] = version_of(db)  # this begins the transaction
        run = db.execute("SELECT id FROM run").fetchone()
        if run is None:
            return
        self.about["run"] = run["id"]
        versions = {row["version"]: row["digest"].hex() for row in db.execute("SELECT version, digest FROM models")}
        self.about["version"] = max(versions)
        self._hold_round(db, run["id"])
        self._hold_models(db, versions)
        for source in (self._state / BASE,):
            if source.exists():
                self._link(source)
        self._hold_ledger(db)
        self._hold_scoring()

    def _hold_round(self, db: sqlite3.Connection, run: str) -> None:
        row = db.execute("SELECT * FROM rounds ORDER BY round DESC LIMIT 1").fetchone()
        if row is None:
            return
        header = decode_header(row["header"])
        self._masked = header.masked
        self.about |= {"round": row["round"], "open_round": row["outcome"] is None, "server_sees": header.server_sees}
        if row["outcome"] is not None or header.masked:
            return
        for receipt in db.execute("SELECT client FROM receipts WHERE round = ?", (row["round"],)):
            source = self._state / "spool" / update_name(run, row["round"], receipt["client"])
            if not source.exists():
                raise StorageError(f"the update of {receipt['client']} in round {row['round']} is gone")
            self._link(source)

    def _hold_models(self, db: sqlite3.Connection, versions: dict[int, str]) -> None:
        digests, newest = set(versions.values()), max(versions)
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'calibrated'").fetchone():
            digests |= {row["digest"].hex() for row in db.execute("SELECT digest FROM calibrated")}
        for source in _files(self._state / "models"):
            numbered = OF_VERSION.fullmatch(source.name)
            number = int(numbered[1] or numbered[3]) if numbered else None
            if number in versions if numbered else source.suffix == ".safetensors" and source.stem in digests:
                self._link(source)
        if f"models/{versions[newest]}.safetensors" not in self.files:
            raise StorageError(f"the file of version {newest} of the model is gone")
        for source in _files(self._state / SUMS):  # of an edge: asked again, it gives the same sum
            if (summed := SUM.fullmatch(source.name)) and int(summed[1]) in versions:
                self._link(source)

    def _hold_ledger(self, db: sqlite3.Connection) -> None:
        """The part of the ledger that the journal knows to be in the file: it is only ever written behind it."""
        path = self._state / LEDGER
        if not path.exists() or not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'ledger'").fetchone():
            return
        sql = (
            "SELECT COALESCE((SELECT MIN(start) FROM ledger WHERE lines IS NOT NULL), "
            "(SELECT MAX(start + size) FROM ledger), 0)"
        )
        (end,) = db.execute(sql).fetchone()
        self._link(path)
        self.files[LEDGER] = min(int(end), path.stat().st_size)

    def _hold_scoring(self) -> None:
        """The round that is kept to be scored, if it is whole: its plan is written last and deleted first."""
        folder = self._state / "contribution"
        plan = _bytes(folder / SCORING_PLAN)
        if plan is None:
            return
        with suppress(StorageError):  # a file went away
            for source in _files(folder):
                self._link(source)
        if _bytes(folder / SCORING_PLAN) != plan or f"contribution/{SCORING_PLAN}" not in self.files:
            self.files = {name: size for name, size in self.files.items() if not name.startswith("contribution/")}

    def _link(self, source: Path) -> str:
        name = source.relative_to(self._state).as_posix()
        target = self.folder / name
        with disk_errors(f"hold {source}"):
            if target.parent not in self._made:
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._made.add(target.parent)
            try:
                os.link(source, target)
            except PermissionError:  # a file system without hard links
                shutil.copyfile(source, target)
            self.files[name] = target.stat().st_size
        return name


def sweep(state: Path) -> None:
    """Delete what a backup left that was killed; nobody may be making one."""
    shutil.rmtree(state / FOLDER, ignore_errors=True)


def _reading(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, not even the schema."""
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        raise StorageError(f"cannot read {path}: {error}") from error
    return db


def _tidy(path: Path, *, masked: bool) -> None:
    """Take what clients said in an open masked round, and what was deleted long ago, out of a copy."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            if masked:
                db.execute("DELETE FROM stages")
            db.execute("PRAGMA journal_mode = DELETE")  # one file; the next server goes over to WAL again
            db.execute("VACUUM")
    except sqlite3.Error as error:
        raise StorageError(f"cannot write {path}: {error}") from error


def _files(folder: Path) -> Iterator[Path]:
    """Plain files of a folder, by name; none where there is no such folder."""
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink())


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
