"""The file of members: tokens, members and certificates as rows, one short transaction a call.

Several processes may have it open. Tokens are kept as hashes. All times are whole Unix seconds, UTC.
"""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from roughfed.crypto.names import Role, check_role
from roughfed.errors import IdentityError, StorageError, TooLarge
from roughfed.upgrade import upgrade, version_of

SCHEMA = (
    """
    CREATE TABLE tokens (
        hash BLOB PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, replaces INTEGER NOT NULL,
        expires_at INTEGER NOT NULL, used_at INTEGER
    ) STRICT;
    CREATE TABLE members (
        name TEXT PRIMARY KEY, role TEXT NOT NULL, identity_key BLOB NOT NULL, member BLOB NOT NULL,
        enrolled_at INTEGER NOT NULL, token_hash BLOB, revoked_at INTEGER
    ) STRICT;
    CREATE TABLE certificates (
        serial TEXT PRIMARY KEY, name TEXT NOT NULL, identity_key BLOB NOT NULL, issued_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX certificates_by_key ON certificates (identity_key);
    """,
    "ALTER TABLE certificates ADD COLUMN ended_at INTEGER;",
    "CREATE TABLE put_back (at INTEGER NOT NULL) STRICT;",
    """
    ALTER TABLE certificates ADD COLUMN expires_at INTEGER;
    ALTER TABLE tokens ADD COLUMN organisation TEXT NOT NULL DEFAULT '';
    ALTER TABLE members ADD COLUMN organisation TEXT NOT NULL DEFAULT '';
    CREATE TABLE lists (number INTEGER PRIMARY KEY, signed BLOB NOT NULL) STRICT;
    """,
)
"""Step by step: a step is never changed, only followed by another."""


MOST_AN_HOUR = 240
"""Certificates that a member gets in an hour: each is a row that stays, and some member may renew as fast as it can."""


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One row of the membership.

    Attributes:
        name: enrolled name.
        role: "client" or "server".
        identity_key: Ed25519 public key, 32 bytes.
        member: its serialized SignedRosterEntry.
        enrolled_at: Unix seconds.
        revoked_at: Unix seconds; None while it belongs to the federation.
    """

    name: str
    role: Role
    identity_key: bytes
    member: bytes
    enrolled_at: int
    revoked_at: int | None


class MemberFile:
    """Opens connections to the file; each is used by one call of one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self) -> None:
        """Make the tables and columns that are not there yet (`roughfed.upgrade`).

        Raises:
            StorageError: the disk refused, a newer version wrote the file, or it is not a database.
        """
        with self.reading() as db:
            db.execute("PRAGMA journal_mode = WAL")
            _number(db)
            upgrade(db, SCHEMA, self._path)
        self._path.chmod(0o600)

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """A connection for queries; each sees the last committed state."""
        # One connection a call: they must not wander between threads, and enrolment is rare.
        try:
            with closing(sqlite3.connect(self._path, timeout=5.0, isolation_level=None)) as db:
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA synchronous = FULL")
                yield db
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: {error}") from error

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """One transaction that holds the write lock from its start; an exception rolls it back."""
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


def _number(db: sqlite3.Connection) -> None:
    """Give a file its schema version that is from before there were any."""
    columns = [row["name"] for row in db.execute("PRAGMA table_info(certificates)")]
    if columns and version_of(db) == 0:
        db.execute(f"PRAGMA user_version = {2 if 'ended_at' in columns else 1}")


def put_back(db: sqlite3.Connection, *, at: int) -> int:
    """Note that the file was put back to an earlier state; returns how many open invites are void by that."""
    db.execute("INSERT INTO put_back VALUES (?)", (at,))
    return db.execute("DELETE FROM tokens WHERE used_at IS NULL").rowcount


def last_put_back(db: sqlite3.Connection) -> int | None:
    """When it was put back last."""
    return db.execute("SELECT MAX(at) FROM put_back").fetchone()[0]


def find_token(db: sqlite3.Connection, token: bytes, *, at: int) -> sqlite3.Row:
    """The row of a token that has not expired, used or not.

    Raises:
        IdentityError: `reason` is "token-unknown" or "token-expired".
    """
    wanted = hash_token(token)
    row = db.execute("SELECT * FROM tokens WHERE hash = ?", (wanted,)).fetchone()
    # The index saw a hash, never the secret; the comparison that decides takes the same time for every input.
    if row is None or not hmac.compare_digest(row["hash"], wanted):
        raise IdentityError(
            "this invite is unknown or was withdrawn; ask for a new invite: roughfed invite NAME",
            reason="token-unknown",
        )
    if at >= row["expires_at"]:
        expired = datetime.fromtimestamp(row["expires_at"], UTC)
        raise IdentityError(
            f"this invite expired at {expired:%Y-%m-%d %H:%M} UTC; ask for a new invite: roughfed invite {row['name']}",
            reason="token-expired",
        )
    return row


def take_token(db: sqlite3.Connection, token_hash: bytes, *, at: int) -> bool:
    """Use a token up; False if somebody did before. One statement: of two racing callers one wins."""
    query = "UPDATE tokens SET used_at = ? WHERE hash = ? AND used_at IS NULL"
    return db.execute(query, (at, token_hash)).rowcount == 1


def refuse_living(db: sqlite3.Connection, name: str) -> None:
    """Raise IdentityError (`reason="name-taken"`) if the name belongs to a living member."""
    member = find_member(db, name)
    if member and member.revoked_at is None:
        raise IdentityError(
            f"{name!r} is enrolled; if its machine is lost: roughfed invite {name} --replace", reason="name-taken"
        )


def living_member(db: sqlite3.Connection, name: str, identity_key: bytes) -> MemberRow:
    """The living member that holds this key.

    Raises:
        IdentityError: `reason` is "revoked" or "replaced".
    """
    member = find_member(db, name)
    if member is None or member.revoked_at is not None:
        raise IdentityError(
            f"{name!r} is not a member any more; ask for a new invite: roughfed invite {name}", reason="revoked"
        )
    if not holds_key(member, identity_key):
        raise IdentityError(f"another key enrolled as {name!r} since", reason="replaced")
    return member


def holds_key(member: MemberRow, identity_key: bytes) -> bool:
    """Whether this is a living member with this key."""
    return member.revoked_at is None and member.identity_key == identity_key


def find_member(db: sqlite3.Connection, name: str) -> MemberRow | None:
    """The member of that name, living or revoked."""
    row = db.execute("SELECT * FROM members WHERE name = ?", (name,)).fetchone()
    return None if row is None else as_member(row)


def refuse_many(db: sqlite3.Connection, identity_key: bytes, *, at: int) -> None:
    """Raise TooLarge (`reason="rate"`) if a key has had `MOST_AN_HOUR` certificates within the last hour."""
    query = "SELECT issued_at FROM certificates WHERE identity_key = ? ORDER BY rowid DESC LIMIT 1 OFFSET ?"
    row = db.execute(query, (identity_key, MOST_AN_HOUR - 1)).fetchone()
    if row is not None and row["issued_at"] > at - 3600:
        raise TooLarge(f"this member had {MOST_AN_HOUR} certificates within an hour", reason="rate")


def find_certificate(db: sqlite3.Connection, name: str, serial: int) -> sqlite3.Row | None:
    """What was noted when a certificate was issued."""
    return db.execute(
        "SELECT rowid, * FROM certificates WHERE serial = ? AND name = ?", (f"{serial:x}", name)
    ).fetchone()


def older_certificates(db: sqlite3.Connection, certificate: sqlite3.Row) -> list[str]:
    """Serial numbers of those of the same member that it took the place of, and that nothing ended yet."""
    query = "SELECT serial FROM certificates WHERE name = ? AND identity_key = ? AND rowid < ? AND ended_at IS NULL"
    found = db.execute(query, (certificate["name"], certificate["identity_key"], certificate["rowid"]))
    return [row["serial"] for row in found]


def end_certificates(db: sqlite3.Connection, serials: Iterable[str], *, at: int) -> None:
    """Certificates that are refused from now on."""
    query = "UPDATE certificates SET ended_at = ? WHERE serial = ?"
    db.executemany(query, [(at, serial) for serial in serials])


def as_member(row: sqlite3.Row) -> MemberRow:
    """A row of the table as a value."""
    return MemberRow(
        row["name"], check_role(row["role"]), row["identity_key"], row["member"], row["enrolled_at"], row["revoked_at"]
    )


def hash_token(token: bytes) -> bytes:
    """What is kept of a token: SHA-256, 32 bytes."""
    return hashlib.sha256(token).digest()
