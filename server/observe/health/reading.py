"""Takes the figures that alerts are judged by from a running server."""

from __future__ import annotations

from collections.abc import Sequence

from roughfed.server.cohort import tiers
from roughfed.server.context.server import ServerContext
from roughfed.server.observe.health.inputs import (
    Certificates,
    CurrentRound,
    Disk,
    HealthInputs,
    PastRound,
    RecentCounts,
)


def inputs_of(
    ctx: ServerContext, disk: Disk, rounds: Sequence[PastRound], certificates: Certificates, *, now: float,
    since: dict[str, float],
) -> HealthInputs:  # fmt: skip
    """The figures of this moment.

    Args:
        ctx: the server.
        disk: as it was last looked at.
        rounds: the last ones that are over.
        certificates: of this server and its CA.
        now: Unix seconds.
        since: since when the server waits for clients ("waiting") or could open a round ("ready"); kept up here.
    """
    sessions = ctx.clients.all()
    finished = ctx.store.finished() is not None or ctx.state.stopping
    waiting = waiting_for(ctx)
    quiet = ctx.state.collection is None and not finished
    proofs = ctx.stages.proofs() if ctx.clients.quarantined else {}
    return HealthInputs(
        now=now,
        started_at=ctx.state.started_at,
        finished=finished,
        paused=ctx.state.paused,
        ready_since=_since(since, "ready", quiet and not waiting and _could_play(ctx), now),
        waiting=waiting,
        waiting_since=_since(since, "waiting", bool(waiting) and not _come_back(ctx, now), now),
        open=_open(ctx, now),
        rounds=rounds,
        here={session.name for session in sessions} - ctx.clients.quarantined.keys(),
        proved={name: proofs[name] for name in ctx.clients.quarantined.keys() & proofs.keys() - ctx.clients.revoked},
        certificates=certificates,
        client_certificates={s.name: known for s in sessions if (known := ctx.clients.seen.span(s.name)) is not None},
        skews={s.name: skew for s in sessions if (skew := s.clock_skew_s) is not None},
        recent=_recent(ctx),
        disk=disk,
        round_bytes=ctx.spec.size_bytes * 2 + _upload(ctx, [each.upload_bytes for each in rounds]),
    )


def _recent(ctx: ServerContext) -> RecentCounts:
    recent = ctx.recent
    return RecentCounts(
        commits_s=recent.commits.all(),
        received=len(recent.received.all()),
        refused=recent.refused.all(),
        uploads=len(transfers := recent.transfers.all()),
        resumed=sum(transfers),
        enrolments_refused=recent.enrolments.all(),
        calls=recent.calls.all(),
    )


def waiting_for(ctx: ServerContext) -> str:
    """For whom the server waits, in words; empty while it does not."""
    if ctx.state.collection is not None or ctx.store.finished():
        return ""
    here = set(ctx.clients.names()) - ctx.clients.quarantined.keys()
    if len(here) < ctx.config.clients_to_start:
        return ctx.config.waiting(len(here))
    return (
        tiers.waiting_for(ctx.config, ctx.clients.hellos(here))
        if ctx.config.tiers and ctx.state.phase == "waiting"
        else ""
    )


def _could_play(ctx: ServerContext) -> bool:
    """Whether a round is due as far as the server itself goes; an edge waits for its orders."""
    return ctx.state.phase == "waiting" and not ctx.state.paused and not ctx.extensions.idle


def _come_back(ctx: ServerContext, now: float) -> bool:
    """Whether enough clients are here or away until an hour that they named: nobody is missed before it."""
    away = {name for name, until in ctx.clients.away.items() if until > now} - set(ctx.clients.names())
    known = ({*ctx.clients.names()} | away) - ctx.clients.quarantined.keys()
    return bool(away) and len(known) >= ctx.config.clients_to_start


def deadline_at(ctx: ServerContext, now: float) -> float | None:
    """When the open round ends in any case, Unix seconds; None without one."""
    return None if ctx.state.collection is None else now + ctx.state.collection.deadline - ctx.state.clock()


def _open(ctx: ServerContext, now: float) -> CurrentRound | None:
    round_, collection = ctx.state.round, ctx.state.collection
    if round_ is None or collection is None:
        return None
    row = round_.row
    end = deadline_at(ctx, now) or now
    return CurrentRound(row.round, row.opened_at, end, collection.deadline - collection.opened)


def _upload(ctx: ServerContext, before: list[int]) -> int:
    """Bytes that the clients send in a round: as many as in the one before, or all their updates as they are."""
    if before and before[-1]:
        return before[-1]
    return ctx.spec.size_bytes * max(ctx.config.clients_to_start, len(ctx.clients.names()))


def _since(known: dict[str, float], what: str, holds: bool, now: float) -> float | None:
    if not holds:
        known.pop(what, None)
        return None
    return known.setdefault(what, now)
