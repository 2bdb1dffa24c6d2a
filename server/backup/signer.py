"""Whose key signs the backups of a state directory, and whether a key is that of the server whose state it is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from roughfed.crypto.certificates import identity_of
from roughfed.crypto.identity import IdentityKey
from roughfed.errors import RoughfedError
from roughfed.server.members.authority import CA_CERTIFICATE, DATABASE
from roughfed.wire.enrolment import open_member

PAPERS = ("papers", "ca-papers")
"""Of the server, and of a CA that runs apart from it."""


def key_of(state: Path) -> IdentityKey | None:
    """The identity of the server (or CA) of a state directory; None before its first start.

    Raises:
        ConfigError: it cannot be read.
    """
    for folder in PAPERS:
        if (path := state / folder / "identity.key").exists():
            return IdentityKey.load(path)
    return None


def certified(state: Path) -> set[bytes]:
    """Identity keys that the CA of a state directory certified as a server's, Ed25519, 32 bytes each."""
    found = set[bytes]()
    for member, ca_certificate, federation in _members(state):
        with suppress(RoughfedError, ValueError):
            entry = open_member(member, ca_certificate, federation=federation, dated=False)
            if entry.role == "server":
                found.add(entry.identity_key)
    return found


def _members(state: Path) -> Iterator[tuple[bytes, bytes, str]]:
    """Roster entries, each with the certificate of its CA, and the federation where that CA is somebody else's."""
    papers = state / "papers"
    with suppress(OSError, RoughfedError, ValueError, KeyError, TypeError):  # enrolled at a CA elsewhere
        by_files = not json.loads((papers / "enrolment.json").read_bytes())["enrolment_address"]
        federation = identity_of((papers / "certificate.pem").read_bytes()).federation if by_files else ""
        yield (papers / "member.bin").read_bytes(), (papers / "ca.pem").read_bytes(), federation
    if not (path := state / "ca" / DATABASE).exists():
        return
    with suppress(OSError, sqlite3.Error), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        ca_certificate = (state / "ca" / CA_CERTIFICATE).read_bytes()
        for (member,) in db.execute("SELECT member FROM members WHERE role = 'server'").fetchall():
            yield bytes(member), ca_certificate, ""
