"""Who belongs to the federation: invites, members and the CA's key, in a folder of their own.

Other processes (`roughfed invite` while the server runs) open the same folder: each call is one short transaction in
SQLite's WAL mode (`member_file`). All of it waits for the disk: call it from a thread, not on the event loop.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from roughfed.crypto import certificates, identity
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.crypto.join_line import SECRET_BYTES
from roughfed.crypto.key_file import read_private, read_public, write_private, write_public
from roughfed.crypto.member_list import ListedMember
from roughfed.crypto.names import Role, Subject, check_name, check_role
from roughfed.crypto.roster import RosterEntry
from roughfed.errors import ConfigError, IdentityError, StorageError
from roughfed.server.members import member_file
from roughfed.server.members.issued_lists import current_list, registered
from roughfed.server.members.member_file import MemberFile, MemberRow
from roughfed.wire.enrolment import IssuedCredentials, encode_member, encode_roster_entry, open_member
from roughfed.wire.member_list import LIST_REQUEST_DOMAIN, list_request_body

DATABASE, CA_KEY, CA_CERTIFICATE = "authority.db", "ca.key", "ca.pem"
INVITE_LIFE = timedelta(days=1)


class Authority:
    """The federation's CA and its members. Safe to use from several threads and processes."""

    def __init__(
        self,
        folder: Path,
        ca: CertificateAuthority,
        *,
        life: timedelta = certificates.LEAF_LIFE,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Use `Authority.create` or `Authority.open`; `life` is that of the certificates it will issue."""
        self._life = life
        self._file = MemberFile(folder / DATABASE)
        self._ca = ca
        self._entropy = entropy

    @classmethod
    def create(cls, folder: Path, federation: str, *, now: datetime) -> Authority:
        """Make the CA of a new federation.

        Raises:
            ConfigError: there is one already.
            IdentityError: `reason="name"`.
            StorageError: the disk refused.
        """
        if (folder / CA_KEY).exists():
            raise ConfigError(
                "this folder has a CA already", file=str(folder / CA_KEY), cure="choose another folder with --dir"
            )
        ca = CertificateAuthority.create(federation, serial=_serial(), now=now)
        authority = cls(folder, ca)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {folder}: {error.strerror}") from error
        authority._file.create()
        write_public(folder / CA_CERTIFICATE, ca.certificate)
        write_private(folder / CA_KEY, ca.key)  # last: a folder without it counts as empty
        return authority

    @classmethod
    def open(cls, folder: Path, *, life: timedelta = certificates.LEAF_LIFE) -> Authority:
        """Open the CA of an existing federation; `life` is that of the certificates it will issue.

        Raises:
            ConfigError: there is none, or its key is readable by others or does not fit.
        """
        if not (folder / CA_KEY).exists():
            raise ConfigError("there is no CA here", file=str(folder), cure="make one with `roughfed init`")
        if not (folder / DATABASE).exists():
            # Starting over with an empty list would turn every member away.
            raise ConfigError(
                "the list of members is lost", file=str(folder / DATABASE), cure="restore it from a backup"
            )
        try:
            ca = CertificateAuthority.load(read_private(folder / CA_KEY), read_public(folder / CA_CERTIFICATE))
        except IdentityError as error:
            raise ConfigError(str(error), file=str(folder / CA_KEY), cure="restore both files from a backup") from error
        authority = cls(folder, ca, life=life)
        authority._file.create()  # columns that an earlier version did not have
        return authority

    @property
    def certificate(self) -> bytes:
        """The CA certificate (PEM)."""
        return self._ca.certificate

    @property
    def federation(self) -> str:
        """Federation id."""
        return self._ca.federation

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the CA certificate, for the join line, 32 bytes."""
        return certificates.fingerprint(self._ca.certificate)

    def invite(
        self,
        name: str,
        *,
        now: datetime,
        role: Role = "client",
        ttl: timedelta = INVITE_LIFE,
        replace: bool = False,
        organisation: str = "",
    ) -> bytes:
        """Make the single-use secret of a join line. An older unused invite for the same name is void.

        Args:
            name: whom to invite.
            now: aware.
            role: what the token's holder becomes.
            ttl: how long the token can be used.
            replace: allow it for a living member (lost machine): its old key dies when the new one enrols.
            organisation: that it belongs to; stands in the list of members.

        Returns:
            32 bytes; only their hash is kept.

        Raises:
            IdentityError: `reason` is "name", "role" or "name-taken".
        """
        check_name(name)
        check_role(role)
        if organisation:
            check_name(organisation, what="organisation")
        secret = self._entropy(SECRET_BYTES)
        with self._file.writing() as db:
            if not replace:
                member_file.refuse_living(db, name)
            db.execute("DELETE FROM tokens WHERE name = ? AND used_at IS NULL", (name,))
            db.execute(
                "INSERT INTO tokens (hash, name, role, replaces, expires_at, organisation) VALUES (?, ?, ?, ?, ?, ?)",
                (member_file.hash_token(secret), name, role, replace, _seconds(now + ttl), organisation),
            )
        return secret

    def enroll(
        self, token: bytes, csr: bytes, identity_key: bytes, *, proof: bytes, now: datetime
    ) -> IssuedCredentials:
        """Turn a token into a membership: the caller gets its certificate.

        The very same caller (same token and keys) may ask again, in case the answer was lost: it gets a certificate
        for the same member. Anybody else finds the token used.

        Args:
            token: secret of the join line, 32 bytes.
            csr: signing request (PEM).
            identity_key: Ed25519 public key, 32 bytes.
            proof: signature over `identity.enrolment_body`.
            now: aware.

        Raises:
            IdentityError: `reason` is "csr", "signature", "token-unknown", "token-used", "token-expired",
                "name-taken" or "key-reused".
        """
        tls_key = certificates.read_request(csr)
        identity.verify(identity_key, identity.ENROL_DOMAIN, identity.enrolment_body(token, csr), proof)
        at = _seconds(now)
        with self._file.writing() as db:
            row = member_file.find_token(db, token, at=at)
            if not member_file.take_token(db, row["hash"], at=at):
                return self._answer_again(db, row, tls_key, identity_key=identity_key, now=now)
            if not row["replaces"]:
                member_file.refuse_living(db, row["name"])
            subject = Subject(self.federation, check_role(row["role"]), row["name"])
            member = self._admit(db, subject, identity_key, at=at, token=row)
            return self._issue(db, tls_key, member, now=now)

    def renew(self, csr: bytes, member: bytes, *, requested_at: int, proof: bytes, now: datetime) -> IssuedCredentials:
        """Give a living member a fresh certificate.

        Args:
            csr: signing request (PEM).
            member: the caller's serialized SignedRosterEntry.
            requested_at: when the caller asked, Unix seconds.
            proof: signature over `identity.renewal_body`.
            now: aware.

        Raises:
            IdentityError: `reason` is "csr", "roster", "clock", "signature", "revoked" or "replaced".
            TooLarge: `reason` is "rate"; the caller has had many lately.
        """
        tls_key = certificates.read_request(csr)
        entry = open_member(member, self._ca.certificate)
        _check_clock(requested_at, now)
        body = identity.renewal_body(requested_at, csr)
        identity.verify(entry.identity_key, identity.RENEW_DOMAIN, body, proof)
        with self._file.writing() as db:
            living = member_file.living_member(db, entry.name, entry.identity_key)
            member_file.refuse_many(db, entry.identity_key, at=_seconds(now))
            return self._issue(db, tls_key, living, now=now)

    def issue_server(self, name: str, csr: bytes, identity_key: bytes, *, now: datetime) -> IssuedCredentials:
        """Certify the server beside this CA, at each of its starts; no token, since it owns the CA's key.

        Raises:
            IdentityError: `reason` is "name", "csr", "name-taken" (by a client) or "key-reused".
        """
        check_name(name)
        tls_key = certificates.read_request(csr)
        with self._file.writing() as db:
            member = member_file.find_member(db, name)
            if member and member.role != "server" and member.revoked_at is None:
                raise IdentityError(f"{name!r} is a client's name", reason="name-taken")
            if not (member and member.role == "server" and member_file.holds_key(member, identity_key)):
                subject = Subject(self.federation, "server", name)
                member = self._admit(db, subject, identity_key, at=_seconds(now), token=None)
            return self._issue(db, tls_key, member, now=now)

    def revoke(self, name: str, *, now: datetime) -> None:
        """End a membership; unused invites for the name are void. Repeating it changes nothing.

        Raises:
            IdentityError: `reason="unknown"`; nobody of that name ever enrolled or was invited.
        """
        with self._file.writing() as db:
            voided = db.execute("DELETE FROM tokens WHERE name = ? AND used_at IS NULL", (name,)).rowcount
            if not member_file.find_member(db, name):
                if voided:
                    return
                raise IdentityError(f"there is no member {name[:80]!r}", reason="unknown")
            db.execute("UPDATE members SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL", (_seconds(now), name))

    def members(self) -> tuple[MemberRow, ...]:
        """Everybody who ever enrolled, the revoked too, by name."""
        with self._file.reading() as db:
            return tuple(member_file.as_member(row) for row in db.execute("SELECT * FROM members ORDER BY name"))

    def member_list(self, *, now: datetime) -> bytes:
        """The list of members that is in force, signed: a serialized SignedMemberList (`issued_lists`).

        Raises:
            StorageError: the disk refused. TooLarge: there are more members than a list has room for.
        """
        life_s = self._life.total_seconds()
        with self._file.writing() as db:
            return current_list(db, self.federation, at=_seconds(now), life_s=life_s, sign=self._ca.sign_members)

    def registered(self) -> list[ListedMember]:
        """The living members, for a list that organisations sign (`issued_lists`)."""
        with self._file.reading() as db:
            return registered(db)

    def listed_for(self, member: bytes, *, requested_at: int, proof: bytes, now: datetime) -> bytes:
        """The same for a living member that asks for it, a server whose CA this is.

        Raises:
            IdentityError: `reason` is "roster", "clock", "signature", "revoked" or "replaced".
        """
        entry = open_member(member, self._ca.certificate)
        _check_clock(requested_at, now)
        body = list_request_body(requested_at)
        identity.verify(entry.identity_key, LIST_REQUEST_DOMAIN, body, proof)
        with self._file.reading() as db:
            member_file.living_member(db, entry.name, entry.identity_key)
        return self.member_list(now=now)

    def standing(self, name: str, serial: int) -> str:
        """Whether to turn away who shows a certificate; one that passes ends those that it renewed.

        Returns:
            "" (it is good), "revoked" (also unknown, or of a replaced machine), or "outdated" (a later one was used).

        Raises:
            StorageError: the disk refused.
        """
        with self._file.reading() as db:
            member = member_file.find_member(db, name)
            row = member_file.find_certificate(db, name, serial)
            if row is None and member is not None and member.revoked_at is None and self._forgot(db):
                return ""
            if member is None or row is None or not member_file.holds_key(member, row["identity_key"]):
                return "revoked"
            if row["ended_at"] is not None:
                return "outdated"
            older = member_file.older_certificates(db, row)
        if older:
            with self._file.writing() as db:
                member_file.end_certificates(db, older, at=int(time.time()))
        return ""

    def _forgot(self, db: sqlite3.Connection) -> bool:
        """Whether certificates may be good that nobody noted: the file was put back since they were issued."""
        at = member_file.last_put_back(db)
        return at is not None and time.time() < at + self._life.total_seconds()

    def _answer_again(
        self,
        db: sqlite3.Connection,
        token: sqlite3.Row,
        tls_key: ec.EllipticCurvePublicKey,
        *,
        identity_key: bytes,
        now: datetime,
    ) -> IssuedCredentials:
        query = "SELECT * FROM members WHERE token_hash = ? AND identity_key = ? AND revoked_at IS NULL"
        row = db.execute(query, (token["hash"], identity_key)).fetchone()
        if row is None:
            used = datetime.fromtimestamp(token["used_at"], UTC)
            raise IdentityError(
                f"this invite was used at {used:%Y-%m-%d %H:%M} UTC; ask for a new invite: "
                f"roughfed invite {token['name']} --replace",
                reason="token-used",
            )
        member_file.refuse_many(db, identity_key, at=_seconds(now))
        return self._issue(db, tls_key, member_file.as_member(row), now=now)

    def _admit(
        self, db: sqlite3.Connection, subject: Subject, identity_key: bytes, *, at: int, token: sqlite3.Row | None
    ) -> MemberRow:
        if db.execute("SELECT 1 FROM certificates WHERE identity_key = ?", (identity_key,)).fetchone():
            # A key stands for one membership: a revoked or replaced one must never come back.
            raise IdentityError("this identity key was enrolled before; make a fresh one", reason="key-reused")
        entry = encode_roster_entry(RosterEntry(subject.name, subject.role, identity_key, subject.federation, at))
        member = encode_member(entry, self._ca.sign_roster(entry))
        of = (None, "") if token is None else (token["hash"], token["organisation"])
        db.execute(
            "INSERT OR REPLACE INTO members (name, role, identity_key, member, enrolled_at, token_hash, organisation) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (subject.name, subject.role, identity_key, member, at, *of),
        )
        return MemberRow(subject.name, subject.role, identity_key, member, at, None)

    def _issue(
        self, db: sqlite3.Connection, tls_key: ec.EllipticCurvePublicKey, member: MemberRow, *, now: datetime
    ) -> IssuedCredentials:
        serial = _serial()
        db.execute(
            "INSERT INTO certificates (serial, name, identity_key, issued_at, expires_at) VALUES (?, ?, ?, ?, ?)",
            (f"{serial:x}", member.name, member.identity_key, _seconds(now), _seconds(now + self._life)),
        )
        subject = Subject(self.federation, member.role, member.name)
        certificate = self._ca.issue(tls_key, subject, serial=serial, now=now, life=self._life)
        return IssuedCredentials(certificate, member.member, self._ca.certificate)


def _check_clock(requested_at: int, now: datetime) -> None:
    if abs(skew := requested_at - _seconds(now)) > identity.RENEW_WINDOW_S:
        raise IdentityError(
            f"the request's clock differs by {skew} s from the CA's, at most {identity.RENEW_WINDOW_S} s go: "
            "set the clocks",
            reason="clock",
        )


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _serial() -> int:
    return secrets.randbits(159) | 1 << 158  # positive and at most 20 bytes (RFC 5280, 4.1.2.2)
