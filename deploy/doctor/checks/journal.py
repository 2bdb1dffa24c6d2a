"""The journal: can it be read, is it whole, and does this version of roughfed know its schema?"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from roughfed.client.storage import store
from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.site import DoctorSite
from roughfed.server.storage.schema import SCHEMA

MIB = 1 << 20
LARGE_LOG_BYTES = 256 * MIB
QUICK_S = 8.0
RESTORE = "restore the state directory from a backup: roughfed restore"
AT_CLIENT = "stop the client and move state/client.db aside: it sits out the open round and goes on with the next"


def journal(site: DoctorSite) -> Iterable[Finding]:
    """The database of a server or a client."""
    path = site.state / ("journal.db" if site.role == "server" else "client.db")
    if site.role == "none" or not path.exists():
        yield skipped("nothing was journaled here yet")
        return
    cure = RESTORE if site.role == "server" else AT_CLIENT
    known = len(SCHEMA if site.role == "server" else store.SCHEMA)
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            yield whole(db, cure, min(QUICK_S, site.left() - 1.0))
    except sqlite3.Error as error:
        yield failure(f"{path.name} cannot be read: {error}", cure=cure, about="integrity")
        return
    yield schema(version, known)
    yield size(path)


def whole(db: sqlite3.Connection, cure: str, within_s: float) -> Finding:
    """SQLite's own check, for as long as there is time."""
    until = time.monotonic() + within_s
    db.set_progress_handler(lambda: int(time.monotonic() > until), 10_000)
    began = time.monotonic()
    try:
        (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        slow = "roughfed doctor --only journal --within 600 takes the time for it"
        return warning("the journal is too large to be checked in passing", cure=slow, about="integrity")
    if said != "ok":
        return failure(f"the journal is damaged: {said}", cure=cure, about="integrity")
    return ok("the journal is whole", measured=f"{time.monotonic() - began:.2f} s", about="integrity")


def schema(version: int, known: int) -> Finding:
    """Who wrote it."""
    measured = f"schema {version}, this version knows {known}"
    if version > known:
        cure = "install the version of roughfed that wrote it, or a newer one"
        return failure("the journal was written by a newer roughfed", measured=measured, cure=cure, about="schema")
    if version < known:
        return ok("the journal is an older version's; the next start upgrades it", measured=measured, about="schema")
    return ok("the journal has this version's schema", measured=measured, about="schema")


def size(path: Path) -> Finding:
    """How large it and its write-ahead log are."""
    log = path.with_name(path.name + "-wal")
    logged = log.stat().st_size if log.exists() else 0
    measured = f"{path.stat().st_size / MIB:.1f} MiB and a log of {logged / MIB:.1f} MiB"
    if logged > LARGE_LOG_BYTES:
        cure = "restart the server; if it grows again, a reader holds it: end other programs that have the file open"
        return warning("the journal's log is not folded in any more", measured=measured, cure=cure, about="size")
    return ok("the journal has a usual size", measured=measured, about="size")
