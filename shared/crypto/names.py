"""Who somebody is: federation, role and enrolled name, and how they stand in a certificate."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Literal, NamedTuple

from roughfed.errors import IdentityError

Role = Literal["client", "server"]
ROLES: tuple[Role, ...] = ("client", "server")

_NAME = re.compile(r"[a-z0-9-]{1,63}", re.ASCII)
_URI = re.compile(r"spiffe://([a-z0-9-]{1,63})/(client|server)/([a-z0-9-]{1,63})", re.ASCII)


class Subject(NamedTuple):
    """A member as its certificate names it."""

    federation: str
    role: Role
    name: str

    @property
    def uri(self) -> str:
        """The SPIFFE id that stands in the certificate's subject alternative names."""
        return f"spiffe://{self.federation}/{self.role}/{self.name}"


def check_name(name: str, *, what: str = "name") -> str:
    """Return `name` if it may stand in certificates, metrics and logs.

    Raises:
        IdentityError: `reason="name"`; not [a-z0-9-]{1,63}.
    """
    if not _NAME.fullmatch(name):
        raise IdentityError(
            f"{what} {name[:80]!r}: 1 to 63 of the characters a-z, 0-9 and - are allowed", reason="name"
        )
    return name


def check_role(role: str) -> Role:
    """Return `role` if it is one.

    Raises:
        IdentityError: `reason="role"`.
    """
    if role not in ROLES:
        raise IdentityError(f"role {role[:80]!r}: want client or server", reason="role")
    return role


def subject_of(alternative_names: Iterable[str | bytes]) -> Subject:
    """Find the one SPIFFE id among a certificate's subject alternative names.

    Args:
        alternative_names: as gRPC's `auth_context()["x509_subject_alternative_name"]` gives them.

    Raises:
        IdentityError: `reason="san"`; none, several or a malformed one.
    """
    texts = [n.decode("utf-8", "replace") if isinstance(n, bytes) else n for n in alternative_names]
    uris = [text for text in texts if text.startswith("spiffe:")]
    if len(uris) != 1:
        raise IdentityError(f"the certificate names {len(uris)} SPIFFE ids, want exactly 1", reason="san")
    if not (match := _URI.fullmatch(uris[0])):
        raise IdentityError(
            f"the certificate names {uris[0][:200]!r}, want spiffe://FEDERATION/ROLE/NAME", reason="san"
        )
    federation, role, name = (sys.intern(group) for group in match.groups())  # once in memory, whoever keeps it
    return Subject(federation, check_role(role), name)
