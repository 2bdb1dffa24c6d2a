"""Which drawing of groups this client knows to be in force: a server that invents a newer one is refused.

Every header of a masked round says which drawing its groups follow from. Whoever saw the header of round r knows the
newest drawing up to r; so a later header may name that one, or one of a round after r, and no other.
"""

from __future__ import annotations

from dataclasses import dataclass

from roughfed.client.storage.store import ClientStore
from roughfed.errors import IdentityError
from roughfed.tiers import STANDARD
from roughfed.types import RoundHeader


@dataclass(frozen=True, slots=True)
class Epoch:
    """What this client knows of the drawings of one tier of clients.

    Attributes:
        seen_round: the last round of which it saw the header as of this tier.
        epoch_round: round of the drawing that was in force then.
        beacon: of that drawing, 32 bytes; empty where this client saw that groups were drawn, but not the roster.
        draw: (round, beacon) from which the members' order followed then.
    """

    seen_round: int
    epoch_round: int
    beacon: bytes
    draw: tuple[int, bytes] = (0, b"")


def known_epoch(store: ClientStore, run: str, tier: str) -> Epoch | None:
    """What is known of a tier in a run; None before its first masked round there."""
    rows = store.journal.read("SELECT * FROM epochs WHERE run = ? AND tier = ?", run, tier)
    if not rows:
        return None
    row = rows[0]
    return Epoch(row["seen_round"], row["epoch_round"], row["beacon"], (row["draw_round"], row["draw_beacon"]))


def check_epoch(store: ClientStore, header: RoundHeader) -> None:
    """Hold the drawings that a header names, of its groups and of its cohort, against what this client knows.

    Raises:
        IdentityError: reason "beacon"; one was not in force in a round that this client saw.
    """
    known = known_epoch(store, header.run, header.tier)
    if known is None:
        return
    _check_draw(known, header)
    if not header.epoch_beacon or header.epoch_round > known.seen_round:
        return
    if header.epoch_round == known.epoch_round and known.beacon in (b"", header.epoch_beacon):
        return
    raise IdentityError(
        f"groups of round {header.epoch_round}: in round {known.seen_round} this client saw that those of round "
        f"{known.epoch_round} are in force, or another beacon",
        reason="beacon",
    )


def _check_draw(known: Epoch, header: RoundHeader) -> None:
    """The order of the members follows from the last drawing that came to its end, of the standard tier's groups."""
    draw = (header.draw_round, header.draw_beacon)
    if not header.draw_beacon or header.tier != STANDARD or header.draw_round > known.seen_round:
        return
    if known.draw in (draw, (0, b"")):  # a directory of an older version knows none
        return
    if header.draw_round == known.epoch_round and known.beacon in (b"", header.draw_beacon):
        return
    raise IdentityError(
        f"members in the order of a beacon of round {header.draw_round}, which was another one or none when this "
        f"client took part in round {known.seen_round}",
        reason="beacon",
    )


async def record_epoch(store: ClientStore, header: RoundHeader, beacon: bytes) -> None:
    """Note the drawing that is in force in a round.

    Args:
        store: of this client.
        header: as its tier reads it.
        beacon: what the groups follow from; empty as long as it is not known.
    """
    drawn = (header.draw_round, header.draw_beacon)
    row = (header.run, header.tier, header.epoch_round, beacon, header.round, *drawn)
    sql = (
        "INSERT INTO epochs (run, tier, epoch_round, beacon, seen_round, draw_round, draw_beacon) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, tier) DO UPDATE SET "
        "beacon = CASE WHEN epoch_round = excluded.epoch_round AND excluded.beacon = x'' THEN beacon "
        "ELSE excluded.beacon END, epoch_round = excluded.epoch_round, seen_round = excluded.seen_round, "
        "draw_round = excluded.draw_round, draw_beacon = excluded.draw_beacon"
    )
    await store.journal.write(lambda db: db.execute(sql, row))
