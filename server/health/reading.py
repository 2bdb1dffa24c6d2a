"""Takes the figures that alerts are judged by from a running server."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roughfed.server import classes
from roughfed.server.health.signs import Open, Signs
from roughfed.server.store import Store

if TYPE_CHECKING:
    from roughfed.server.federation import Federation


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes on the disk of the state directory."""

    free_bytes: int = 0
    total_bytes: int = 0
    journal_bytes: int = 0
    blob_bytes: int = 0

    @staticmethod
    def of(store: Store) -> Disk:
        """Look now; it reads the folder. Zeros where the system does not tell."""
        try:
            usage = shutil.disk_usage(store.folder)
            return Disk(usage.free, usage.total, **store.sizes())
        except OSError:
            return Disk()


def signs_of(fed: Federation, disk: Disk, *, now: float, since: dict[str, float]) -> Signs:
    """The figures of this moment.

    Args:
        fed: the server.
        disk: as it was last looked at.
        now: Unix seconds.
        since: since when the server waits for clients ("waiting") or could open a round ("ready"); kept up here.
    """
    sessions = fed.members.all()
    finished = fed.store.finished() is not None or fed.stopping
    waiting = waiting_for(fed)
    quiet = fed.collection is None and not finished
    rounds = fed.health.past.last()
    proofs = fed.stages.proofs() if fed.quarantined else {}
    return Signs(
        now=now,
        started_at=fed.started_at,
        finished=finished,
        paused=fed.paused,
        ready_since=_since(since, "ready", quiet and not waiting and _could_play(fed), now),
        waiting=waiting,
        waiting_since=_since(since, "waiting", bool(waiting) and not _come_back(fed, now), now),
        open=_open(fed, now),
        rounds=rounds,
        quarantined=fed.quarantined,
        proved={name: proofs[name] for name in fed.quarantined.keys() & proofs.keys() - fed.members.revoked},
        certificates=fed.certificates,
        certificate_s=fed.health.certificate_s,
        client_certificates={s.name: known for s in sessions if (known := fed.health.seen.span(s.name)) is not None},
        skews={s.name: skew for s in sessions if (skew := s.clock_skew_s) is not None},
        commits_s=fed.recent.commits.all(),
        received=len(fed.recent.received.all()),
        refused=fed.recent.refused.all(),
        uploads=len(transfers := fed.recent.transfers.all()),
        resumed=sum(transfers),
        enrolments_refused=fed.recent.enrolments.all(),
        disk_free=disk.free_bytes,
        disk_total=disk.total_bytes,
        round_bytes=fed.spec.size_bytes * 2 + _upload(fed, [each.upload_bytes for each in rounds]),
    )


def waiting_for(fed: Federation) -> str:
    """For whom the server waits, in words; empty while it does not."""
    if fed.collection is not None or fed.store.finished():
        return ""
    here = set(fed.members.names()) - fed.quarantined.keys()
    if len(here) < fed.config.clients_to_start:
        return fed.config.waiting(len(here))
    return classes.waiting_for(fed, here) if fed.config.classes and fed.phase == "waiting" else ""


def _could_play(fed: Federation) -> bool:
    """Whether a round is due as far as the server itself goes; an edge waits for its orders."""
    return fed.phase == "waiting" and not fed.paused and (fed.above is None or fed.order is not None)


def _come_back(fed: Federation, now: float) -> bool:
    """Whether enough clients are here or away until an hour that they named: nobody is missed before it."""
    away = {name for name, until in fed.away.items() if until > now} - set(fed.members.names())
    known = ({*fed.members.names()} | away) - fed.quarantined.keys()
    return bool(away) and len(known) >= fed.config.clients_to_start


def deadline_at(fed: Federation, now: float) -> float | None:
    """When the open round ends in any case, Unix seconds; None without one."""
    return None if fed.collection is None else now + fed.collection.deadline - fed.clock()


def _open(fed: Federation, now: float) -> Open | None:
    row, collection = fed.row, fed.collection
    if row is None or collection is None:
        return None
    end = deadline_at(fed, now) or now
    return Open(row.round, row.opened_at, end, collection.deadline - collection.opened)


def _upload(fed: Federation, before: list[int]) -> int:
    """Bytes that the clients send in a round: as many as in the one before, or all their updates as they are."""
    if before and before[-1]:
        return before[-1]
    return fed.spec.size_bytes * max(fed.config.clients_to_start, len(fed.members.names()))


def _since(known: dict[str, float], what: str, holds: bool, now: float) -> float | None:
    if not holds:
        known.pop(what, None)
        return None
    return known.setdefault(what, now)
