"""The operator's quarantine: a client that stays connected and is not asked for anything until it is released.

Beside it there are quarantines that follow from what a client did; `masked.journal.Stages.quarantined` has them all,
and a release lifts all of them. In the open round the client counts as one that dropped out: it is not waited for, and
uploads no more. What it had delivered before stays, and is judged like everybody's.
"""

from __future__ import annotations

import sqlite3

from roughfed.crypto.names import check_name
from roughfed.errors import ConfigError
from roughfed.journal import Journal

MOST_WORDS = 200
"""Characters of a reason: it is shown in tables."""

OPERATOR = "by the operator"


async def hold(journal: Journal, client: str, because: str, now: float) -> str:
    """Journal that a client is not asked any more; a client that is held already gets the new reason.

    Args:
        journal: the server's.
        client: its name.
        because: for people; may be empty.
        now: Unix seconds.

    Returns:
        the reason as it will be shown.

    Raises:
        ConfigError: the reason is too long or has more than one line.
        IdentityError: no client can have such a name.
    """
    check_name(client)
    because = checked(because)

    def work(db: sqlite3.Connection) -> None:
        db.execute("UPDATE held SET released_at = ? WHERE client = ? AND released_at IS NULL", (now, client))
        db.execute("INSERT INTO held (client, because, held_at) VALUES (?, ?, ?)", (client, because, now))

    await journal.write(work)
    return shown(because)


def held(journal: Journal) -> dict[str, str]:
    """Whom the operator holds -> why, as it is shown."""
    rows = journal.read("SELECT client, because FROM held WHERE released_at IS NULL ORDER BY client")
    return {row["client"]: shown(row["because"]) for row in rows}


def shown(because: str) -> str:
    """A reason beside those that are found by the server itself."""
    return f"{OPERATOR}: {because}" if because else OPERATOR


def checked(because: str) -> str:
    """A reason that can be shown in a line.

    Raises:
        ConfigError: it cannot.
    """
    because = because.strip()
    if len(because) > MOST_WORDS or not because.isprintable():
        raise ConfigError(
            f"a reason of {len(because)} characters, or with characters that cannot be shown",
            key="--because",
            cure=f"one line of at most {MOST_WORDS} characters",
        )
    return because
