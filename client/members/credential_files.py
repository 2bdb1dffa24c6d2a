"""The folder of an enrolled member: which files it has, and how they change without ever being torn.

`pending/` holds an enrolment under way, or the keys of a request (`client.files`), `renewal/` a new TLS key and its
certificate. Their `enrolment.json` is written last; from then on the new files count and are moved into place, after a
crash by whoever opens the folder next.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from roughfed.crypto import certificates
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.key_file import read_private, read_public, write_private, write_public
from roughfed.crypto.names import Subject
from roughfed.errors import ConfigError, IdentityError
from roughfed.files import disk_errors, fsync_folder
from roughfed.wire.enrolment import IssuedCredentials

TLS_KEY, IDENTITY_KEY = "tls.key", "identity.key"
CERTIFICATE, MEMBER, CA_CERTIFICATE, RECORD = "certificate.pem", "member.bin", "ca.pem", "enrolment.json"
FILES = (TLS_KEY, IDENTITY_KEY, CERTIFICATE, MEMBER, CA_CERTIFICATE)  # and the record, last
_PENDING, _RENEWAL, _TOKEN = "pending", "renewal", "token.sha256"


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """What enrolment.json holds: where the ports are and which token was used (its SHA-256, hex).

    Who was enrolled by files has neither an enrolment port nor a token.
    """

    enrolment_address: str
    federation_address: str
    token_sha256: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class Credentials:
    """A member's own credentials.

    Attributes:
        folder: where they lie.
        subject: federation, role and name, from the certificate.
        record: addresses.
        tls_key: P-256 private key (PEM).
        certificate: its certificate (PEM), then intermediates, if the CA has any.
        ca_certificate: the only CA to trust (PEM).
        member: serialized SignedRosterEntry.
        identity: Ed25519 key that signs updates.
    """

    folder: Path
    subject: Subject
    record: CredentialRecord
    tls_key: bytes = field(repr=False)
    certificate: bytes
    ca_certificate: bytes
    member: bytes
    identity: IdentityKey

    @property
    def name(self) -> str:
        """Enrolled name."""
        return self.subject.name

    @property
    def external(self) -> str:
        """The federation, where its CA is somebody else's and does not name it; else empty."""
        return "" if self.record.enrolment_address else self.subject.federation


@dataclass(frozen=True, slots=True)
class Keys:
    """The two keys of an enrolment under way."""

    tls_key: bytes = field(repr=False)
    identity: IdentityKey


def is_enrolled(folder: Path) -> bool:
    """Whether `load` will find credentials."""
    _finish(folder)
    return (folder / RECORD).exists()


def load(folder: Path) -> Credentials:
    """Read the credentials back.

    Raises:
        ConfigError: not enrolled, a file is missing or damaged, or others may read a key.
    """
    if not is_enrolled(folder):
        raise ConfigError(
            "this folder is not enrolled", file=str(folder), cure="ask for an invite: roughfed invite NAME"
        )
    try:
        tls_key, certificate = _read_pair(folder)
        subject = certificates.identity_of(certificate)
    except IdentityError as error:
        raise ConfigError(str(error), file=str(folder / CERTIFICATE), cure="enrol anew") from error
    return Credentials(
        folder=folder,
        subject=subject,
        record=_read_record(folder / RECORD),
        tls_key=tls_key,
        certificate=certificate,
        ca_certificate=read_public(folder / CA_CERTIFICATE),
        member=read_public(folder / MEMBER),
        identity=IdentityKey.load(folder / IDENTITY_KEY),
    )


def prepare(folder: Path, purpose: str, *, identity: IdentityKey | None = None) -> Keys:
    """Make the keys of a new enrolment and put them on disk, or find those of an interrupted one.

    Keys go with what they were made for: after a lost answer the same caller may ask again.

    Args:
        folder: of the credentials.
        purpose: the token's SHA-256 (hex), or whom a request is for.
        identity: that of the member whose enrolment is renewed; None: a new one.

    Raises:
        StorageError: the disk refused.
    """
    pending = folder / _PENDING
    with disk_errors(f"write in {folder}"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not ((pending / _TOKEN).exists() and read_public(pending / _TOKEN).decode() == purpose):
            shutil.rmtree(pending, ignore_errors=True)
            pending.mkdir(mode=0o700)
            write_private(pending / TLS_KEY, certificates.new_tls_key())
            (identity or IdentityKey.generate()).save(pending / IDENTITY_KEY)
            write_public(pending / _TOKEN, purpose.encode())  # last: the keys are whole
            fsync_folder(folder)
    return Keys(read_private(pending / TLS_KEY), IdentityKey.load(pending / IDENTITY_KEY))


def prepared(folder: Path) -> tuple[Keys, str] | None:
    """The keys of an enrolment under way, and what they were made for; None where there is none."""
    pending = folder / _PENDING
    if not (pending / _TOKEN).exists():
        return None
    keys = Keys(read_private(pending / TLS_KEY), IdentityKey.load(pending / IDENTITY_KEY))
    return keys, read_public(pending / _TOKEN).decode()


def commit(folder: Path, issued: IssuedCredentials, record: CredentialRecord) -> None:
    """Put new credentials in the place of old ones, all or none.

    Raises:
        StorageError: the disk refused; calling it again, or `load`, goes on where it stopped.
    """
    pending = folder / _PENDING
    with disk_errors(f"write in {folder}"):
        pending.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_public(pending / CERTIFICATE, issued.certificate)
    write_public(pending / MEMBER, issued.member)
    write_public(pending / CA_CERTIFICATE, issued.ca_certificate)
    text = json.dumps(
        {
            "version": record.version,
            "enrolment_address": record.enrolment_address,
            "federation_address": record.federation_address,
            "token_sha256": record.token_sha256,
        },
        indent=2,
    )
    write_public(pending / RECORD, text.encode() + b"\n")
    _finish(folder)


def replace_certificate(folder: Path, certificate: bytes) -> None:
    """Put a renewed certificate in place; it is for the same key, so one file is all that changes."""
    write_public(folder / CERTIFICATE, certificate)


def replace_key(folder: Path, tls_key: bytes, certificate: bytes) -> None:
    """Put a new TLS key and its certificate in the place of the old ones, both or none.

    Raises:
        StorageError: the disk refused; calling it again, or `load`, goes on where it stopped.
    """
    renewal = folder / _RENEWAL
    with disk_errors(f"write in {folder}"):
        shutil.rmtree(renewal, ignore_errors=True)  # half of one, left by a crash
        renewal.mkdir(mode=0o700)
    write_private(renewal / TLS_KEY, tls_key)
    write_public(renewal / CERTIFICATE, certificate)
    write_public(renewal / RECORD, read_public(folder / RECORD))
    _finish(folder)


def _finish(folder: Path) -> None:
    for staged in (folder / _PENDING, folder / _RENEWAL):
        if not (staged / RECORD).exists():
            continue
        with disk_errors(f"write in {folder}"):
            for name in FILES:
                _move(staged / name, folder)
            fsync_folder(folder)
            _move(staged / RECORD, folder)
            fsync_folder(folder)
            shutil.rmtree(staged, ignore_errors=True)


def _move(file: Path, folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # moved before the crash, or by another reader just now
        file.replace(folder / file.name)


def _read_pair(folder: Path) -> tuple[bytes, bytes]:
    """TLS key and certificate, which belong together.

    Raises:
        IdentityError: reason "key".
        ConfigError: one is missing, or others may read the key.
    """

    def read() -> tuple[bytes, bytes]:
        tls_key, certificate = read_private(folder / TLS_KEY), read_public(folder / CERTIFICATE)
        certificates.check_key(certificate, tls_key)
        return tls_key, certificate

    try:
        return read()
    except IdentityError:
        return read()  # somebody may have replaced both between the two looks


def _read_record(path: Path) -> CredentialRecord:
    try:
        raw = json.loads(read_public(path))
        record = CredentialRecord(**raw)
        *texts, version = astuple(record)
    except (ValueError, TypeError):
        record, version, texts = None, 0, []
    if record is None or version != 1 or not all(isinstance(text, str) for text in texts):
        raise ConfigError("this is not a record of an enrolment, version 1", file=str(path), cure="enrol anew")
    return record


def until_due(credentials: Credentials) -> float:
    """Seconds until the certificate should be renewed, at two thirds of its life; negative after that."""
    return (certificates.renew_at(credentials.certificate) - datetime.now(UTC)).total_seconds()


def until_end(credentials: Credentials) -> float:
    """Seconds until the certificate ends; negative after that."""
    end = certificates.load_certificate(credentials.certificate).not_valid_after_utc
    return (end - datetime.now(UTC)).total_seconds()
