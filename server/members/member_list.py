"""The list of members that is in force: the server names it in its headers, asks only who is in it, and hands it out.

Clients refuse whoever is not in it as a group mate, so one such member would void its group.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from roughfed.crypto.member_list import MemberList
from roughfed.errors import IdentityError, RemoteProtocolError, RoughfedError
from roughfed.journal import Journal
from roughfed.server.members.authority import Authority
from roughfed.server.members.sessions import ClientSession
from roughfed.wire.member_list import decode_list, decode_signed

log = logging.getLogger(__name__)

NOT_LISTED = "not-listed"
"""Why a client is not asked that is here, and in no list of members."""

AGAIN_S = 5.0
KEPT = 2
"""Lists that clients may still ask for: that of the open round, and the one before."""


class Lists(Protocol):
    """Gives the list that is in force, a serialized SignedMemberList."""

    async def __call__(self) -> bytes:
        """The list.

        Raises:
            RoughfedError: there is none, or it cannot be had now.
        """
        ...


def from_authority(authority: Authority) -> Lists:
    """That of the CA in this process."""

    async def lists() -> bytes:
        return await asyncio.to_thread(lambda: authority.member_list(now=datetime.now(UTC)))

    return lists


class Listing:
    """The newest list that this server knows, kept in its journal.

    Attributes:
        source: gives the one that is in force; None where rounds are not masked.
        current: as it was given last; None before the first.
        strict: whoever is not in it may not even connect: organisations signed it, and no CA adds to it.
    """

    source: Lists | None = None
    strict: bool = False

    def __init__(self, journal: Journal) -> None:
        """On the server's journal."""
        self._journal, self._told, self._signed = journal, frozenset[str](), b""
        rows = journal.read("SELECT signed FROM member_lists ORDER BY rowid DESC LIMIT 1")
        self.current: MemberList | None = None
        if rows:
            body, signatures = decode_signed(rows[0]["signed"])
            self.current, self.strict = decode_list(body), all(key for key, _ in signatures)

    async def refresh(self) -> None:
        """Ask for the one that is in force; it is journaled before anybody is told of it.

        Raises:
            RoughfedError: it cannot be had, and the last one is over.
        """
        if self.source is None:
            return
        try:
            signed = await self.source()
            body, signatures = decode_signed(signed)
            listed = decode_list(body)
            listed.check_date(time.time())
            self._check_follows(listed)
        except RoughfedError as error:
            if self.current is None or self.current.expires_at <= time.time():
                raise
            log.warning("no newer member list than %d: %s", self.current.number, error)
            return
        if signed != self._signed:  # another list, or one signature more
            await self._keep(listed, signed)
            log.info("member list %d: %d members", listed.number, len(listed.members))
        self._signed = signed
        self.current, self.strict = listed, all(key for key, _ in signatures)

    def _check_follows(self, listed: MemberList) -> None:
        """What clients would refuse is not handed out.

        Raises:
            RemoteProtocolError: reason "members"; it is older than the last one, or another of the same number.
        """
        before = self.current
        if before is None or listed.digest == before.digest or listed.number > before.number:
            return
        raise RemoteProtocolError(
            f"list {listed.number} does not follow list {before.number}, which clients have seen: sign one with a "
            "higher number",
            reason="members",
        )

    async def _keep(self, listed: MemberList, signed: bytes) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO member_lists VALUES (?, ?)", (listed.digest, signed))
            oldest = "SELECT rowid FROM member_lists ORDER BY rowid DESC LIMIT ?"
            db.execute(f"DELETE FROM member_lists WHERE rowid NOT IN ({oldest})", (KEPT,))  # noqa: S608

        await self._journal.write(work)

    def signed(self, digest: bytes) -> bytes:
        """A list for a client that read its digest in a header.

        Raises:
            RemoteProtocolError: reason "members"; it is none of the last ones.
        """
        rows = self._journal.read("SELECT signed FROM member_lists WHERE digest = ?", digest)
        if not rows:
            raise RemoteProtocolError("no such member list is in force here", reason="members")
        return rows[0]["signed"]

    def listed(self, sessions: Iterable[ClientSession]) -> set[str]:
        """Names of the clients among these that the list has; the others are named in the log, once."""
        sessions = list(sessions)
        if self.source is None or self.current is None:
            return {session.name for session in sessions}
        now = time.time()
        found = {each.name for each in sessions if self.current.belongs(each.name, each.identity_key, now=now)}
        without = frozenset(each.name for each in sessions) - found
        if without and without != self._told:
            names = ", ".join(sorted(without)[:20])
            log.warning("not asked, since they are not in member list %d: %s", self.current.number, names)
        self._told = without
        return found

    def fields(self) -> Mapping[str, Any]:
        """What a header says of the list."""
        if self.source is None or self.current is None:
            return {}
        return {"members_number": self.current.number, "members_digest": self.current.digest}

    def described(self) -> dict[str, object] | None:
        """The list for the operator; None where rounds are not masked, or before the first."""
        if self.source is None or (listed := self.current) is None:
            return None
        signers = "organisations" if self.strict else "ca"
        members = {"members": len(listed.members), "signed_by": signers}
        return {"number": listed.number, "expires_at": listed.expires_at, **members}

    def admit(self, name: str, identity_key: bytes) -> None:
        """Turn away who is in no list that the organisations signed.

        Raises:
            IdentityError: reason "not-listed".
        """
        if self.strict and self.current is not None and not self.current.belongs(name, identity_key, now=time.time()):
            raise IdentityError(
                f"{name} is not in member list {self.current.number}, which the organisations of this federation "
                "signed: ask one of them to sign a list with it",
                reason=NOT_LISTED,
            )
