"""Which drawing of groups this client knows to be in force: a server that invents a newer one is refused.

Every header of a masked round says which drawing its groups follow from. Whoever saw the header of round r knows the
newest drawing up to r; so a later header may name that one, or one of a round after r, and no other.
"""

from __future__ import annotations

from dataclasses import dataclass

from roughfed.client.store import ClientStore
from roughfed.errors import IdentityError
from roughfed.types import RoundHeader


@dataclass(frozen=True, slots=True)
class Epoch:
    """What this client knows of the drawings of one class of clients.

    Attributes:
        seen_round: the last round of which it saw the header as of this class.
        epoch_round: round of the drawing that was in force then.
        beacon: of that drawing, 32 bytes; empty where this client saw that groups were drawn, but not the roster.
    """

    seen_round: int
    epoch_round: int
    beacon: bytes


def known_epoch(store: ClientStore, run: str, client_class: str) -> Epoch | None:
    """What is known of a class in a run; None before its first masked round there."""
    sql = "SELECT seen_round, epoch_round, beacon FROM epochs WHERE run = ? AND class = ?"
    rows = store.journal.read(sql, run, client_class)
    return Epoch(rows[0]["seen_round"], rows[0]["epoch_round"], rows[0]["beacon"]) if rows else None


def check_epoch(store: ClientStore, header: RoundHeader) -> None:
    """Hold the drawing that a header names against what this client knows.

    Raises:
        IdentityError: reason "beacon"; it was not in force in a round that this client saw.
    """
    known = known_epoch(store, header.run, header.client_class)
    if not header.epoch_beacon or known is None or header.epoch_round > known.seen_round:
        return
    if header.epoch_round == known.epoch_round and known.beacon in (b"", header.epoch_beacon):
        return
    raise IdentityError(
        f"groups of round {header.epoch_round}: in round {known.seen_round} this client saw that those of round "
        f"{known.epoch_round} are in force, or another beacon",
        reason="beacon",
    )


async def note_epoch(store: ClientStore, header: RoundHeader, beacon: bytes) -> None:
    """Note the drawing that is in force in a round.

    Args:
        store: of this client.
        header: as its class reads it.
        beacon: what the groups follow from; empty as long as it is not known.
    """
    row = (header.run, header.client_class, header.epoch_round, beacon, header.round)
    sql = (
        "INSERT INTO epochs (run, class, epoch_round, beacon, seen_round) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (run, class) DO UPDATE SET "
        "beacon = CASE WHEN epoch_round = excluded.epoch_round AND excluded.beacon = x'' THEN beacon "
        "ELSE excluded.beacon END, epoch_round = excluded.epoch_round, seen_round = excluded.seen_round"
    )
    await store.journal.write(lambda db: db.execute(sql, row))
