"""Clients whose data the operator knows: they are not left out for being unlike the others.

A rule sees that an update is odd, not why. Who has asked the client's owner knows more, and vouches for it. Not spared
is an update that is far too long: whatever its data, it would undo what many have done (`SPARED_NOT`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Set
from dataclasses import replace

from roughfed.config.federation import FederationConfig
from roughfed.crypto.names import check_name
from roughfed.errors import ConfigError
from roughfed.journal import Journal
from roughfed.server.defence.plan import rule_of
from roughfed.server.defence.verdict import Verdict
from roughfed.server.members.quarantine import checked

SPARED_NOT = frozenset(("long",))
"""Reasons that hold for whoever is vouched for, too."""


async def vouch(journal: Journal, client: str, because: str, now: float) -> None:
    """Journal that a client is vouched for; one that is already gets the new reason.

    Args:
        journal: the server's.
        client: its name.
        because: for people; may be empty.
        now: Unix seconds.

    Raises:
        ConfigError: the reason is too long or has more than one line.
        IdentityError: no client can have such a name.
    """
    check_name(client)
    row = (client, checked(because), now)
    await journal.write(lambda db: db.execute("INSERT OR REPLACE INTO vouched VALUES (?, ?, ?)", row))


async def withdraw(journal: Journal, client: str) -> None:
    """Journal that a client is judged like everybody again.

    Raises:
        ConfigError: nobody vouched for it.
    """
    if client not in (known := vouched(journal)):
        cure = f"vouched for: {', '.join(known) or 'nobody'}"
        raise ConfigError(f"nobody vouched for {client[:80]!r}", key="NAME", cure=cure)

    def work(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM vouched WHERE client = ?", (client,))

    await journal.write(work)


def vouched(journal: Journal) -> dict[str, str]:
    """Who is vouched for -> why, as the operator said; sorted."""
    rows = journal.read("SELECT client, because FROM vouched ORDER BY client")
    return {row["client"]: row["because"] for row in rows}


def check_spares(config: FederationConfig) -> None:
    """Refuse to vouch where it would change nothing.

    Raises:
        ConfigError: the rule leaves no client out by name.
    """
    name, sees = config.defence.rule_of(config.privacy.server_sees), config.privacy.server_sees
    if name == "none" or sees == "sums":
        why = "no defence is set" if name == "none" else "the server sees sums of groups, and no client alone"
        raise ConfigError(f"vouching would change nothing: {why}", key="NAME")
    if sees == "updates" and (gives := rule_of(name).gives) != "choice":
        cause = f"vouching would change nothing: {name} works out {gives}, and leaves no client out"
        raise ConfigError(cause, key="NAME", cure='defence.rule = "default"')


def spared(verdict: Verdict, names: Set[str]) -> Verdict:
    """The verdict without those who are vouched for, unless their update is far too long."""
    if not names:
        return verdict
    out = {name: why for name, why in verdict.excluded.items() if name not in names or why in SPARED_NOT}
    return replace(verdict, excluded=out, suspects=verdict.suspects - names)
