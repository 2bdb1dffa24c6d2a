"""Enrolling and renewing by files, at a CA that is somebody else's: a request goes out, a certificate comes back.

The private keys stay where they were made. That CA signs nothing but the certificate, so the member itself signs its
roster entry, with the key that the certificate is for; the list of members then says which entry counts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from roughfed.client.members import credential_files
from roughfed.client.members.credential_files import CredentialRecord, Credentials, Keys
from roughfed.crypto import certificates, roster
from roughfed.crypto.issuing import new_request
from roughfed.crypto.names import Subject, subject_of
from roughfed.errors import IdentityError
from roughfed.wire.enrolment import IssuedCredentials, encode_member, encode_roster_entry


def request(folder: Path, subject: Subject, *, organisation: str = "") -> bytes:
    """Make a TLS key, and a request (PEM) for its certificate; asked for again, the same key.

    Where the folder is enrolled it is a renewal: the TLS key is new, the identity stays, and so does the organisation
    unless another one is named.

    Raises:
        IdentityError: reason "name"; another member is enrolled here, or one at the federation's own CA.
        ConfigError, StorageError: the folder is damaged, or the disk refused.
    """
    identity = None
    if credential_files.is_enrolled(folder):
        own = credential_files.load(folder)
        if not own.external or own.subject != subject:
            raise IdentityError(f"{own.subject.uri} is enrolled here, and stays", reason="name")
        identity = own.identity
        organisation = organisation or certificates.organisation_of(certificates.load_certificate(own.certificate))
    keys = credential_files.prepare(folder, subject.uri, identity=identity)
    return new_request(keys.tls_key, subject, organisation=organisation)


def enroll(
    folder: Path, certificate: bytes, ca_certificate: bytes, *, server: str = "", now: datetime | None = None
) -> Credentials:
    """Put a certificate that a CA gave for a request in place, once all of it is checked.

    Args:
        folder: in which the request was made.
        certificate: PEM of the member's own, then of intermediates; the CA's own may be among them.
        ca_certificate: PEM of the CA to trust from now on, and no other.
        server: host:port of the federation port, for a client; empty: as it was.
        now: aware; None asks the clock.

    Raises:
        IdentityError: reason "request": none was made here; "key", "issuer", "expired", "not-yet-valid", "role", "san"
            or "certificate": it is not what was asked for.
        ConfigError, StorageError: the folder is damaged, or the disk refused.
    """
    now = now or datetime.now(UTC)
    root = certificates.only_certificate(ca_certificate)
    keys, asked = _asked(folder)
    chain = certificates.chain_below(certificate, root)
    certificates.check_key(chain, keys.tls_key)
    found = certificates.check_issued(chain, root, role=asked.role, now=now, federation=asked.federation)
    if found != asked:
        raise IdentityError(f"the certificate is for {found.uri}, the request was for {asked.uri}", reason="san")
    entry = encode_roster_entry(
        roster.RosterEntry(found.name, found.role, keys.identity.public_key, found.federation, int(now.timestamp()))
    )
    signature = roster.sign_entry(certificates.load_private(keys.tls_key), entry)
    member = encode_member(entry, signature, certificates.encode_chain(chain))
    known = credential_files.load(folder).record.federation_address if credential_files.is_enrolled(folder) else ""
    credential_files.commit(folder, IssuedCredentials(chain, member, root), CredentialRecord("", server or known, ""))
    return credential_files.load(folder)


def _asked(folder: Path) -> tuple[Keys, Subject]:
    """The keys of the request under way, or those in use (the same request was signed again), and whom they are for."""
    if (pending := credential_files.prepared(folder)) is not None:
        return pending[0], subject_of([pending[1]])
    if credential_files.is_enrolled(folder) and (own := credential_files.load(folder)).external:
        return Keys(own.tls_key, own.identity), own.subject
    raise IdentityError("no request was made here: its key would be missing", reason="request")
