"""Clients whose data the operator knows: they are not left out for being unlike the others.

A rule sees that an update is odd, not why. Who has asked the client's owner knows more, and vouches for it. The rule
"default" spares it then (`Situation.vouched`), but for an update that is far too long: whatever its data, it would undo
what many have done. Under other rules nobody is spared: they leave out by quota or give weights, and a word for one
client would be a word against another.

A vouch is for the client that has a certain identity key. When another key comes under the name, it ends.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Set
from dataclasses import replace

from roughfed.config.federation import FederationConfig
from roughfed.crypto.names import check_name
from roughfed.errors import ConfigError
from roughfed.journal import Journal
from roughfed.server.defence.verdict import Verdict
from roughfed.server.members.quarantine import checked

log = logging.getLogger(__name__)

SPARING = "default"
"""The rule under which a vouch counts."""


async def vouch(journal: Journal, client: str, because: str, now: float, *, identity_key: bytes) -> None:
    """Journal that a client is vouched for; one that is already gets the new reason and key.

    Args:
        journal: the server's.
        client: its name.
        because: for people; may be empty.
        now: Unix seconds.
        identity_key: Ed25519 public key of the client that is meant.

    Raises:
        ConfigError: the reason is too long or has more than one line.
        IdentityError: no client can have such a name.
    """
    check_name(client)
    row = (client, checked(because), now, identity_key)
    sql = "INSERT OR REPLACE INTO vouched (client, because, since, identity_key) VALUES (?, ?, ?, ?)"
    await journal.write(lambda db: db.execute(sql, row))


async def withdraw(journal: Journal, client: str) -> None:
    """Journal that a client is judged like everybody again.

    Raises:
        ConfigError: nobody vouched for it.
    """
    if client not in (known := vouched(journal)):
        cure = f"vouched for: {', '.join(known) or 'nobody'}"
        raise ConfigError(f"nobody vouched for {client[:80]!r}", key="NAME", cure=cure)
    await _delete(journal, client)


def met(journal: Journal, client: str, identity_key: bytes) -> None:
    """A client is here with this key: a vouch for another key under its name ends.

    It is handed over to the journal before any update of the new key can be, so none of them is ever spared.
    """
    rows = journal.read("SELECT identity_key FROM vouched WHERE client = ?", client)
    if rows and rows[0]["identity_key"] != identity_key:
        _delete(journal, client)
        log.warning("%s came back with another key: what the operator vouched for ends", client)


def _delete(journal: Journal, client: str) -> asyncio.Future[None]:
    def work(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM vouched WHERE client = ?", (client,))

    return journal.submit(work)


def vouched(journal: Journal) -> dict[str, str]:
    """Who is vouched for -> why, as the operator said; sorted."""
    rows = journal.read("SELECT client, because FROM vouched ORDER BY client")
    return {row["client"]: row["because"] for row in rows}


def idle_because(rule: str, f: float) -> str:
    """Why a vouch changes nothing under a rule that is to hold against f; "" where it does."""
    if rule == "none":
        return "no defence is set"
    if rule != SPARING:
        return f"the rule {rule} spares nobody, only {SPARING} does"
    return "" if f else "with defence.f = 0 nobody is left out"


def check_spares(config: FederationConfig) -> None:
    """Refuse to vouch where it would change nothing.

    Raises:
        ConfigError: the rule is not the default, or leaves nobody out.
    """
    if why := idle_because(config.defence.rule_of(config.privacy.server_sees), config.defence.f):
        raise ConfigError(f"vouching would change nothing: {why}", key="NAME")


def tell_ignored(journal: Journal, rule: str, f: float) -> None:
    """Log at a start that vouches stand which the settings make nothing of."""
    if (why := idle_because(rule, f)) and (known := vouched(journal)):
        log.warning("the defence does not spare %s, for whom the operator vouched: %s", ", ".join(known), why)


def spared(verdict: Verdict, names: Set[str]) -> Verdict:
    """The verdict of the sparing rule: who is vouched for, and not left out all the same, is no suspect."""
    return replace(verdict, suspects=verdict.suspects - (names - verdict.excluded.keys()))
