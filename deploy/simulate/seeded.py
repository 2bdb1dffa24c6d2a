"""Keys, papers and secrets that follow from a seed, so that a simulation can be repeated to the bit.

Whoever knows the seed knows every secret: nothing of this is for a federation of more than one party.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from roughfed.client.members.credential_files import CA_CERTIFICATE, CERTIFICATE, IDENTITY_KEY, MEMBER, RECORD, TLS_KEY
from roughfed.client.storage.own_secret import mixed_seed
from roughfed.crypto.certificates import private_pem
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.crypto.member_list import ListedMember, MemberList, sign_list
from roughfed.crypto.names import Role, Subject
from roughfed.crypto.roster import RosterEntry, sign_entry
from roughfed.server.members.server_credentials import Papers
from roughfed.types import Job
from roughfed.wire.enrolment import encode_member, encode_roster_entry
from roughfed.wire.member_list import encode_list, encode_signed

ENROLLED_AT = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
"""When everybody enrolled, Unix seconds: the roster, and so every header, must not depend on the day."""

ENDS_AT = ENROLLED_AT + 100 * 365 * 86400
"""When they all leave."""

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


class Entropy:
    """Secret bytes as a server draws them, one after the other."""

    def __init__(self, seed: int, *what: str) -> None:
        """Those for one purpose."""
        self._base, self._drawn = f"roughfed simulated entropy v1\0{seed}\0" + "\0".join(what), 0

    def __call__(self, size: int) -> bytes:
        """The next `size` bytes."""
        self._drawn += 1
        return hashlib.shake_256(f"{self._base}\0{self._drawn}".encode()).digest(size)


def round_secret(seed: int, client: str) -> Callable[[bytes], bytes]:
    """Header digest -> the 32 secret bytes of a client in that round."""
    return lambda header_digest: hashlib.sha256(
        f"roughfed simulated secret v1\0{seed}\0{client}\0".encode() + header_digest
    ).digest()


def training_seed(seed: int, client: str) -> Callable[[Job], int]:
    """Job -> the seed of a client's training, as it follows from a secret of the client's."""
    return mixed_seed(Entropy(seed, "own", client)(32))


@dataclass(frozen=True, slots=True)
class Passport:
    """What one party of a simulation has: as `roughfed join` leaves it."""

    name: str
    identity: IdentityKey
    tls_key: bytes
    certificate: bytes
    ca_certificate: bytes
    member: bytes

    def write(self, folder: Path, *, address: str = "127.0.0.1:1") -> None:
        """Lay the papers of a client out; not synced, since a simulation outlives no power cut."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        record = {"enrolment_address": address, "federation_address": address, "token_sha256": "", "version": 1}
        for name, data in (
            (TLS_KEY, self.tls_key),
            (IDENTITY_KEY, self.identity.pem()),
            (CERTIFICATE, self.certificate),
            (MEMBER, self.member),
            (CA_CERTIFICATE, self.ca_certificate),
            (RECORD, json.dumps(record).encode()),
        ):
            file = folder / name
            file.touch(mode=0o600)
            file.write_bytes(data)

    def papers(self) -> Papers:
        """Those of a server."""
        return Papers(self.name, self.tls_key, self.certificate, self.ca_certificate, self.member, self.identity)


class Registry:
    """The CA of a simulation."""

    def __init__(self, federation: str, seed: int) -> None:
        """Make it."""
        self._seed = seed
        self._federation = federation
        self._key = self._curve_key("ca")
        now = datetime.now(UTC)
        self._ca = CertificateAuthority.create(federation, serial=1, now=now, key=self._key)
        self._now, self._serial = now, 1

    def admit(self, name: str, role: Role = "client") -> Passport:
        """Keys and papers of one party."""
        identity = self._identity(name, role)
        entry = encode_roster_entry(RosterEntry(name, role, identity.public_key, self._federation, ENROLLED_AT))
        signature = sign_entry(self._key, entry, deterministic=True)
        tls_key = self._curve_key(f"tls {role} {name}")
        self._serial += 1
        subject = Subject(self._federation, role, name)
        certificate = self._ca.issue(tls_key.public_key(), subject, serial=self._serial, now=self._now)
        member = encode_member(entry, signature)
        return Passport(name, identity, private_pem(tls_key), certificate, self._ca.certificate, member)

    def member_list(self, names: Iterable[str], *, server: str) -> bytes:
        """Clients of these names and a server, signed: the same for the same seed, and for ever."""
        found = [self._listed(name, "client") for name in names]
        members = tuple(sorted((*found, self._listed(server, "server")), key=lambda member: member.name))
        body = encode_list(MemberList(self._federation, 1, b"", ENROLLED_AT, ENDS_AT, members))
        return encode_signed(body, [(b"", sign_list(self._key, body))])

    def _listed(self, name: str, role: Role) -> ListedMember:
        return ListedMember(name, self._identity(name, role).public_key, ENDS_AT, server=role == "server")

    def _identity(self, name: str, role: Role) -> IdentityKey:
        return IdentityKey.from_private_bytes(Entropy(self._seed, "identity", role, name)(32))

    def _curve_key(self, what: str) -> ec.EllipticCurvePrivateKey:
        number = int.from_bytes(Entropy(self._seed, "curve", what)(40)) % (_ORDER - 1) + 1
        return ec.derive_private_key(number, ec.SECP256R1())
