"""Who may be this client's group mate: the list of members that a header names, held against what its owner trusts.

A list is fetched when a header names another one than the last; its signatures are verified before it is read. From
then on numbers only grow, and one number has one list.
"""

from __future__ import annotations

import asyncio
import logging
import time

from roughfed.client.context import RoundTask
from roughfed.client.members.credential_files import Credentials
from roughfed.client.policy import Rules
from roughfed.client.round.download import tries
from roughfed.client.storage.store import ClientStore
from roughfed.crypto.member_list import AuthorityTrust, MemberList, Trust
from roughfed.errors import IdentityError, RemoteProtocolError, Unreachable
from roughfed.wire.member_list import decode_list, decode_signed, open_signed

log = logging.getLogger(__name__)


async def fetch_member_list(task: RoundTask) -> MemberList:
    """The list that a masked round's header names, once it is known to be in force.

    Raises:
        RemoteProtocolError, TooLarge: reason "members" and others; the header names none, or it is malformed.
        IdentityError: reason "members-signature", "members-rollback", "members-fork" or "members-expired": the list is
            not one; "not-listed": neither this client nor its server may be missing in it.
        Unreachable: the server does not give it.
    """
    ctx, session, header = task.ctx, task.session, task.header
    if not header.members_digest:
        raise RemoteProtocolError("the header names no list of members", reason="members")
    trust = trust_of(session.rules, session.credentials)
    listed = session.members
    if listed is None or listed.digest != header.members_digest:
        listed = known_list(ctx.store, trust)
    if listed is None or listed.digest != header.members_digest:
        listed = await _fetched(task, trust, listed)
    if listed.number != header.members_number:
        raise RemoteProtocolError(
            f"member list {listed.number} under the number {header.members_number}", reason="members"
        )
    now = time.time()
    listed.check_date(now)
    listed.member(session.credentials.name, session.credentials.identity.public_key, now=now)
    server = next((one.name for one in listed.members if one.identity_key == session.server_key), "the server")
    listed.member(server, session.server_key, now=now, server=True)
    session.members = listed
    return listed


def trust_of(rules: Rules, credentials: Credentials) -> Trust:
    """Whose signatures this client goes by: those of the organisations that its owner named, or else the CA's."""
    return rules.organisations or AuthorityTrust(credentials.ca_certificate)


def known_list(store: ClientStore, trust: Trust) -> MemberList | None:
    """The newest list by these signers that this client has accepted."""
    rows = store.journal.read("SELECT signed FROM member_lists WHERE anchor = ?", trust.anchor)
    return decode_list(decode_signed(rows[0]["signed"])[0]) if rows else None


async def _fetched(task: RoundTask, trust: Trust, before: MemberList | None) -> MemberList:
    ctx, header, federation = task.ctx, task.header, task.session.credentials.subject.federation
    async for _ in tries(ctx):
        try:
            signed = await ctx.connection.fetch_members(header.members_digest)
        except Unreachable as error:
            log.info("the member list did not come yet: %s", error)
            continue
        listed = await asyncio.to_thread(open_signed, signed, trust, federation)
        if listed.digest != header.members_digest:
            raise RemoteProtocolError("another member list than the header names", reason="members")
        if before is not None:
            check_follows(listed, before)
        await _record(ctx.store, trust, listed, signed)
        log.info("member list %d: %d members", listed.number, len(listed.members))
        return listed
    raise Unreachable("the member list did not come")


async def _record(store: ClientStore, trust: Trust, listed: MemberList, signed: bytes) -> None:
    row = (trust.anchor, listed.number, listed.digest, signed)
    sql = "INSERT OR REPLACE INTO member_lists VALUES (?, ?, ?, ?)"
    await store.journal.write(lambda db: db.execute(sql, row))


def check_follows(listed: MemberList, before: MemberList) -> None:
    """Hold a list against the newest one that this client knows.

    Raises:
        IdentityError: reason "members-rollback" (an older one) or "members-fork" (another one under its number, or one
            that does not follow it).
    """
    if listed.number < before.number:
        raise IdentityError(
            f"member list {listed.number}, and this client has seen {before.number}: whoever left since would be back",
            reason="members-rollback",
        )
    forked = listed.number == before.number and listed.digest != before.digest
    if forked or (listed.number == before.number + 1 and listed.previous_digest != before.digest):
        raise IdentityError(f"there are two member lists {before.number}", reason="members-fork")
