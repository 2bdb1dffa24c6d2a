"""A journal that was put back to an earlier state: rounds that clients have seen, and it does not know.

Whoever restores a backup, or copies an old state directory over a newer one, takes rounds back that were played.
Clients answer a round number once, and only a header that follows the one that they saw; so the next round must have a
number that nobody has seen, and its header must name the newest one that somebody saw. Each client shows that one when
it connects, as a server of this federation signed it. The newest that this journal lacks is written into it as a round
that brought nothing, and the run goes on behind it (docs/decisions/0027-restored-runs.md).
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from roughfed.server.storage.proof import HeaderProof
from roughfed.server.storage.store import GONE, RoundRow, Store
from roughfed.tiers import STANDARD
from roughfed.wire.session import decode_header

log = logging.getLogger(__name__)

LOST, RESTORED = "lost", "restored"
"""Why a round is abandoned that was played after the state of this journal, or that was open in it."""

NO_FIGURES = '{"seconds": 0.0, "phase_seconds": {}, "upload_bytes": 0, "download_bytes": 0}'

OF_STANDARD = (
    "INSERT INTO masked_rounds (round, epoch_round, clip_norm, next_clip, beacon, nonce) "
    "VALUES (?, ?, ?, ?, x'', zeroblob(32))"
)
OF_CLASS = (
    "INSERT INTO tier_rounds (round, epoch_round, clip_norm, next_clip, beacon, tier) VALUES (?, ?, ?, ?, x'', ?)"
)


async def follow(store: Store, seen: Mapping[str, HeaderProof], last: RoundRow | None) -> tuple[RoundRow | None, int]:
    """Between two rounds: write what the connected clients have seen and the journal lacks into it.

    Args:
        store: of the server.
        seen: client -> the newest header that it has seen.
        last: the newest round of the journal.

    Returns:
        (the round that the next header names, the number of the next round).
    """
    unknown = {name: proof for name, proof in seen.items() if not _known(store, proof)}
    proofs = {name: proof for name, proof in unknown.items() if last is None or proof.header.round >= last.round}
    if not proofs:
        return last, last.round + 1 if last is not None else 1
    name, newest = max(proofs.items(), key=lambda each: each[1].header.round)
    if last is not None and newest.header.round == last.round:  # two histories met at one number: it has two headers
        log.warning("%s has seen another round %d than this journal knows; a number is left out", name, last.round)
        await store.journal.write(draw_anew)
        return last, last.round + 2
    log.warning(
        "%s has seen round %d, and this journal ends with round %d: it was put back to an earlier state. What came "
        "between is lost, and the run goes on behind it",
        name, newest.header.round, last.round if last is not None else 0,
    )  # fmt: skip
    await adopt(store, newest, proofs.values(), now=time.time())
    found = store.last_round()
    return found, newest.header.round + 1


async def adopt(store: Store, newest: HeaderProof, proofs: Iterable[HeaderProof], *, now: float) -> None:
    """Journal a proved round that is not known: abandoned, with nobody in it.

    In a masked run the groups are drawn anew after it, since clients know newer drawings than this journal, and the
    clip norms go on from the newest that clients have seen, since they refuse leaps.

    Args:
        store: of the server.
        newest: that round.
        proofs: of all clients; a tier of clients may be in an older header alone.
        now: Unix seconds.
    """
    header, signed = newest.header, newest.signed
    row = (header.round, signed.body, signed.signature, signed.signer, now, LOST, now, NO_FIGURES)
    clips: Mapping[str, float] = _newest_clips(proofs) if header.masked else {}

    def work(db: sqlite3.Connection) -> None:
        sql = (
            "INSERT INTO rounds (round, header, signature, signer, cohort, goal, opened_at, sets, outcome, reason, "
            "closed_at, summary) VALUES (?, ?, ?, ?, '[]', 0, ?, '{}', 'abandoned', ?, ?, ?)"
        )
        db.execute(sql, row)
        draw_anew(db)
        for name, clip in clips.items():
            values = (header.round, header.round, clip, clip)
            db.execute(OF_STANDARD, values) if name == STANDARD else db.execute(OF_CLASS, (*values, name))

    await store.journal.write(work)


def draw_anew(db: sqlite3.Connection) -> None:
    """No drawing of groups is in force: clients may know newer ones than this journal."""
    db.execute("UPDATE masked_rounds SET beacon = x''")
    db.execute("UPDATE tier_rounds SET beacon = x''")


async def settle(store: Store, run: str, forget: Callable[[RoundRow], Awaitable[None]]) -> None:
    """At the first start after a restore: give a masked round up that was open.

    Its clients have answered for it, perhaps to its end, and answer for no other sets. In the clear a client sends the
    same bytes again, so an open round is finished as after any other restart.

    Args:
        store: of the server.
        run: its id.
        forget: drops what the server holds of the round beside its row.
    """
    rows = store.journal.read("SELECT * FROM restored WHERE settled_at IS NULL")
    if not rows:
        return
    last, now = store.last_round(), time.time()
    if last is not None and last.outcome is None and decode_header(last.header.body).masked:
        if last.sets is None:
            received = store.receipts(run, last.round)
            await store.set_sets(last.round, dict.fromkeys(last.cohort, GONE) | dict.fromkeys(received, "abandoned"))
        await store.abandon(last.round, RESTORED, now)
        await forget(last)
        log.warning("round %d was open in the backup that was restored: it is abandoned", last.round)
    await store.journal.write(lambda db: db.execute("UPDATE restored SET settled_at = ?", (now,)))


def first_choice(store: Store) -> int:
    """The least number that a question to the clients may have.

    Clients answer one under a number once, too. So after a restore they go on from its time in milliseconds, which is
    beyond all that were used before, also where the same backup is restored a second time.
    """
    (newest,) = store.journal.read("SELECT COALESCE(MAX(restored_at), 0) AS at FROM restored")[0]
    return int(newest * 1000) + 1


def last_lost(store: Store) -> int:
    """The newest round that was played, or may have been, and is not in the model; 0 where there is none."""
    sql = "SELECT COALESCE(MAX(round), 0) AS round FROM rounds WHERE reason IN (?, ?)"
    return int(store.journal.read(sql, LOST, RESTORED)[0]["round"])


def _known(store: Store, proof: HeaderProof) -> bool:
    rows = store.journal.read("SELECT header FROM rounds WHERE round = ?", proof.header.round)
    return bool(rows) and rows[0]["header"] == proof.signed.body


def _newest_clips(proofs: Iterable[HeaderProof]) -> Mapping[str, float]:
    """Tier -> the clip norm of the newest header that has one for it."""
    found: dict[str, float] = {}
    for proof in sorted(proofs, key=lambda each: each.header.round):
        if proof.header.masked:
            found[STANDARD] = proof.header.clip_norm
            found |= {each.name: each.clip_norm for each in proof.header.tiers}
    return found
