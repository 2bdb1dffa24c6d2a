"""The federation's CA: key, certificate, list of members, and its end."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from roughfed.crypto import certificates
from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.site import DoctorSite
from roughfed.deploy.roster import LIST, read_list, signatures_of
from roughfed.errors import ConfigError, RoughfedError
from roughfed.server.members.authority import CA_CERTIFICATE, CA_KEY, DATABASE, Authority

SOON = timedelta(days=180)
SIGN_SOON = timedelta(days=14)
RESTORE = "restore state/ca from a backup (roughfed restore)"


def authority(site: DoctorSite, *, now: datetime | None = None) -> Iterable[Finding]:
    """The CA of a server's directory."""
    folder = site.state / "ca"
    if (signed := site.folder / LIST).exists():
        yield roster(signed, now or datetime.now(UTC))
    if site.role != "server":
        yield skipped("a CA is a server's, or stands alone")
        return
    if not (folder / CA_KEY).exists() and not (folder / CA_CERTIFICATE).exists():
        if site.papers is not None:
            yield skipped("the CA is elsewhere (roughfed server --no-ca)")
        else:
            cure = f"{RESTORE}; for a new federation: roughfed init in an empty directory"
            yield failure("there is no CA here, and this server is not enrolled at another one", cure=cure, about="key")
        return
    yield from opened(folder)
    if (folder / CA_CERTIFICATE).exists():
        yield ending(folder / CA_CERTIFICATE, now or datetime.now(UTC))


def opened(folder: Path) -> Iterable[Finding]:
    """Key, certificate and list as the server opens them."""
    try:
        Authority.open(folder)
        mode = stat.S_IMODE((folder / CA_KEY).stat().st_mode)
        yield ok("the CA's key fits its certificate, and is its owner's alone", measured=f"{mode:04o}", about="key")
    except ConfigError as error:
        yield failure(str(error), cure=error.cure or RESTORE, about="key")
    except RoughfedError as error:
        yield failure(str(error), cure=RESTORE, about="key")
    if (folder / DATABASE).exists():
        yield members(folder / DATABASE)


def members(path: Path) -> Finding:
    """The list of members can be read, whole."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as db:
            (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
            rows = dict(db.execute("SELECT revoked_at IS NULL, COUNT(*) FROM members GROUP BY 1"))
    except sqlite3.Error as error:
        return failure(f"the list of members is damaged: {error}", cure=RESTORE, about="members")
    if said != "ok":
        return failure(f"the list of members is damaged: {said}", cure=RESTORE, about="members")
    living, revoked = rows.get(1, 0), rows.get(0, 0)
    return ok(f"{living} members, {revoked} revoked", measured=str(living), about="members")


def roster(path: Path, now: datetime) -> Finding:
    """The list that organisations signed is one, and holds for a while."""
    cure = "where the CA is: roughfed roster propose; each organisation: roughfed roster sign"
    try:
        _, listed = read_list(path)
        signers = len(signatures_of(path))
    except ConfigError as error:
        return failure(str(error), cure=error.cure or cure, about="roster")
    end = datetime.fromtimestamp(listed.expires_at, UTC)
    measured = f"list {listed.number}, {len(listed.members)} members, {signers} signatures, until {end:%Y-%m-%d} UTC"
    if now > end or not signers:
        why = "has come to its end" if now > end else "is signed by nobody"
        return failure(f"the member list {why}: no masked round begins", measured=measured, cure=cure, about="roster")
    if end - now < SIGN_SOON:
        said = f"the member list ends in {(end - now).days} days"
        return warning(said, measured=measured, cure=cure, about="roster")
    return ok("organisations have signed a member list", measured=measured, about="roster")


def ending(path: Path, now: datetime) -> Finding:
    """No certificate outlives the CA's own."""
    try:
        end = certificates.load_certificate(path.read_bytes()).not_valid_after_utc
    except RoughfedError as error:
        return failure(f"{path.name}: {error}", cure=RESTORE, about="end")
    measured, cure = (
        f"until {end:%Y-%m-%d} UTC",
        "plan a new federation: roughfed init in a new directory, and new invites",
    )
    if now > end:
        return failure(
            "the CA has come to its end: nothing is trusted any more", measured=measured, cure=cure, about="end"
        )
    if end - now < SOON:
        return warning(f"the CA ends in {(end - now).days} days", measured=measured, cure=cure, about="end")
    return ok("the CA holds", measured=measured, about="end")
