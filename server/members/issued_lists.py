"""The CA's list of members: a new number whenever who belongs changes, and afresh before it ends.

The list is made when somebody asks for it, so a hundred enrolments between two rounds are one change. A renewed
certificate alone makes none: the list is signed anew often enough that the end of a living member's entry never comes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace

from roughfed.crypto.member_list import ListedMember, MemberList
from roughfed.server.members.member_file import last_put_back
from roughfed.wire.member_list import decode_list, decode_signed, encode_list, encode_signed

LIFE_SHARE, FRESH_SHARE = 1 / 2, 1 / 6
"""Of a certificate's life: how long a list is in force, and after how long it is signed anew. A CA may so be away for a
third of that life, as it may for the certificates, and a server can hold a revocation back for half of it."""


def current_list(
    db: sqlite3.Connection, federation: str, *, at: int, life_s: float, sign: Callable[[bytes], bytes]
) -> bytes:
    """The list that is in force now, made anew where it must be.

    Args:
        db: the file of members, in a transaction that may write.
        federation: id.
        at: Unix seconds.
        life_s: of the certificates that this CA issues.
        sign: the CA's signature over a list's bytes.

    Returns:
        a serialized SignedMemberList.
    """
    members = _living(db, at=at, life_s=life_s)
    row = db.execute("SELECT signed FROM lists ORDER BY number DESC LIMIT 1").fetchone()
    last = None if row is None else decode_list(decode_signed(row["signed"])[0])
    if row is not None and last is not None and not _due(last, members, at=at, life_s=life_s):
        return row["signed"]
    number = 1 if last is None else last.number + 1
    if (back := last_put_back(db)) is not None and (last is None or back >= last.issued_at):
        number = max(number, at)  # behind every number that was given out since the state that was put back
    previous = b"" if last is None else last.digest
    body = encode_list(MemberList(federation, number, previous, at, int(at + life_s * LIFE_SHARE) + 1, members))
    signed = encode_signed(body, [(b"", sign(body))])
    db.execute("DELETE FROM lists")
    db.execute("INSERT INTO lists (number, signed) VALUES (?, ?)", (number, signed))
    return signed


def registered(db: sqlite3.Connection) -> list[ListedMember]:
    """The members of a CA that are not revoked, until they are given a date."""
    query = "SELECT name, role, identity_key, organisation FROM members WHERE revoked_at IS NULL ORDER BY name"
    return [
        ListedMember(row["name"], row["identity_key"], 0, row["organisation"], row["role"] == "server")
        for row in db.execute(query)
    ]


def proposed_list(
    members: Iterable[ListedMember], federation: str, *, at: int, life_s: float, before: MemberList | None
) -> tuple[bytes, MemberList]:
    """A list for organisations to sign: all in it are members for as long as it is in force.

    Args:
        members: in order of their names.
        federation: id.
        at: Unix seconds.
        life_s: how long the list is in force.
        before: the list that it follows; None for the first.
    """
    until = int(at + life_s)
    number, previous = (1, b"") if before is None else (before.number + 1, before.digest)
    listed = tuple(replace(member, expires_at=until) for member in members)
    body = encode_list(MemberList(federation, number, previous, at, until, listed))
    return body, decode_list(body)


def _due(last: MemberList, members: tuple[ListedMember, ...], *, at: int, life_s: float) -> bool:
    listed = {_who(member) for member in last.members if member.expires_at > at}
    return listed != {_who(member) for member in members} or at >= last.issued_at + life_s * FRESH_SHARE


def _who(member: ListedMember) -> tuple[object, ...]:
    return member.name, member.identity_key, member.server, member.organisation


def _living(db: sqlite3.Connection, *, at: int, life_s: float) -> tuple[ListedMember, ...]:
    """Who is not revoked and has a certificate that is good; those from before their end was noted live this long."""
    query = (
        "SELECT name, role, identity_key, organisation, "
        "(SELECT MAX(COALESCE(c.expires_at, c.issued_at + ?)) FROM certificates c "
        "WHERE c.identity_key = m.identity_key) AS ends_at "
        "FROM members m WHERE revoked_at IS NULL ORDER BY name"
    )
    return tuple(
        ListedMember(row["name"], row["identity_key"], row["ends_at"], row["organisation"], row["role"] == "server")
        for row in db.execute(query, (int(life_s),))
        if row["ends_at"] is not None and row["ends_at"] > at
    )
