"""The list of members: who belongs to a federation, numbered, and signed by the CA or by k of n organisations.

It is what peers go by: a roster entry says which key a name once enrolled with, the list says who is a member now. It
is signed and verified as serialized bytes; `roughfed.wire.member_list` knows the serialization.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from roughfed.crypto.certificates import CLOCK_SKEW, fingerprint, load_certificate
from roughfed.crypto.identity import verify
from roughfed.errors import IdentityError

MEMBERS_DOMAIN = b"roughfed members v1\0"
_ORGANISATIONS = b"roughfed organisations v1\0"


@dataclass(frozen=True, slots=True)
class ListedMember:
    """One member.

    Attributes:
        name: enrolled name.
        identity_key: Ed25519 public key, 32 bytes.
        expires_at: Unix seconds from which on it is no member any more.
        organisation: that it belongs to; empty where none was said.
        server: it is a server, not a client.
    """

    name: str
    identity_key: bytes
    expires_at: int
    organisation: str = ""
    server: bool = False

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the identity key, as hex."""
        return hashlib.sha256(self.identity_key).hexdigest()


@dataclass(frozen=True)
class MemberList:
    """A list of members.

    Attributes:
        federation: id.
        number: larger than those of all lists before.
        previous_digest: of the list before; empty for the first.
        issued_at: Unix seconds.
        expires_at: Unix seconds from which on it is not in force any more.
        members: in order of their names.
        digest: SHA-256 of its bytes.
    """

    federation: str
    number: int
    previous_digest: bytes
    issued_at: int
    expires_at: int
    members: tuple[ListedMember, ...]
    digest: bytes = b""

    @cached_property
    def by_name(self) -> Mapping[str, ListedMember]:
        """The members by name."""
        return {member.name: member for member in self.members}

    def check_date(self, now: float) -> None:
        """Refuse a list that is not in force any more; clocks may differ by five minutes.

        Raises:
            IdentityError: reason "members-expired".
        """
        if (late := now - self.expires_at) > CLOCK_SKEW.total_seconds():
            raise IdentityError(
                f"member list {self.number} of {self.federation} expired {late:.0f} s ago; the CA, or the "
                "organisations, must sign another one",
                reason="members-expired",
            )

    def member(self, name: str, identity_key: bytes, *, now: float, server: bool = False) -> ListedMember:
        """The entry of a member.

        Raises:
            IdentityError: reason "not-listed"; revoked, replaced, expired, or never one.
        """
        found = self.by_name.get(name)
        if found is None or found.server != server:
            why = "is not in it"
        elif found.identity_key != identity_key:
            why = "has another key in it"
        elif now - found.expires_at > CLOCK_SKEW.total_seconds():
            why = "has expired in it"
        else:
            return found
        raise IdentityError(f"member list {self.number} of {self.federation}: {name} {why}", reason="not-listed")

    def belongs(self, name: str, identity_key: bytes, *, now: float) -> bool:
        """Whether a client is a member, by a clock that is right."""
        found = self.by_name.get(name)
        return found is not None and not found.server and found.identity_key == identity_key and found.expires_at > now


class Trust(Protocol):
    """Whose signature makes a list one."""

    @property
    def anchor(self) -> bytes:
        """Names the signers, 32 bytes: numbers of lists with the same anchor are compared."""
        ...

    def check(self, body: bytes, signatures: Sequence[tuple[bytes, bytes]]) -> None:
        """Verify a list's bytes.

        Args:
            body: as it was signed.
            signatures: (public key of an organisation, or empty for the CA; signature).

        Raises:
            IdentityError: reason "members-signature".
        """
        ...


@dataclass(frozen=True, slots=True)
class AuthorityTrust:
    """The federation's CA signs (PEM)."""

    ca_certificate: bytes

    @property
    def anchor(self) -> bytes:
        """See `Trust`."""
        return fingerprint(self.ca_certificate)

    def check(self, body: bytes, signatures: Sequence[tuple[bytes, bytes]]) -> None:
        """See `Trust`."""
        key = load_certificate(self.ca_certificate).public_key()
        for signer, signature in signatures:
            if signer or not isinstance(key, ec.EllipticCurvePublicKey):
                continue
            try:
                key.verify(signature, MEMBERS_DOMAIN + body, ec.ECDSA(hashes.SHA256()))
            except InvalidSignature:
                continue
            return
        raise IdentityError("the member list is not signed by this federation's CA", reason="members-signature")


@dataclass(frozen=True, slots=True)
class Organisations:
    """So many of these organisations sign.

    Attributes:
        keys: name -> Ed25519 public key, 32 bytes.
        needed: k; at least 1, at most all.
    """

    keys: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    needed: int = 1

    @property
    def anchor(self) -> bytes:
        """See `Trust`."""
        keys = b"".join(sorted(self.keys.values()))
        return hashlib.sha256(_ORGANISATIONS + self.needed.to_bytes(4, "big") + keys).digest()

    def signers(self, body: bytes, signatures: Sequence[tuple[bytes, bytes]]) -> set[str]:
        """Organisations whose signature is right; each counts once."""
        names, found = {key: name for name, key in self.keys.items()}, set[str]()
        for key, signature in signatures:
            if (name := names.get(key)) is None or name in found:
                continue
            try:
                verify(key, MEMBERS_DOMAIN, body, signature)
            except IdentityError:
                continue
            found.add(name)
        return found

    def check(self, body: bytes, signatures: Sequence[tuple[bytes, bytes]]) -> None:
        """See `Trust`."""
        found = self.signers(body, signatures)
        if len(found) < self.needed:
            raise IdentityError(
                f"the member list is signed by {len(found)} of the {len(self.keys)} organisations that this client "
                f"knows ({', '.join(sorted(found)) or 'none'}), {self.needed} are needed",
                reason="members-signature",
            )


def sign_list(ca_key: ec.EllipticCurvePrivateKey, body: bytes) -> bytes:
    """The CA's signature over a list's bytes: DER-encoded ECDSA P-256 / SHA-256."""
    return ca_key.sign(MEMBERS_DOMAIN + body, ec.ECDSA(hashes.SHA256()))
