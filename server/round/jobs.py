"""What clients are sent of a round: their job, and how it ended for them."""

from __future__ import annotations

from roughfed.messages import RoundClosed
from roughfed.rng import derive
from roughfed.server.context.server import ServerContext
from roughfed.server.model.downlink import base_digest
from roughfed.server.round.header import evaluates, trainer_settings
from roughfed.server.storage.store import ABSENT, ACCEPTED, RoundRow
from roughfed.types import Job
from roughfed.wire.session import decode_header


def job_for(ctx: ServerContext, row: RoundRow, client: str, *, seconds_left: float, train: bool = True) -> Job:
    """The job of one client in a round."""
    return Job(
        header=row.header,
        trainer=trainer_settings(ctx),
        seed=derive(ctx.config.federation.seed, "client", client, row.round),
        evaluate=evaluates(ctx, ctx.extensions.schedule.place(row.round, row.cluster), train=train),
        train=train,
        model_bytes=ctx.spec.size_bytes,
        seconds_left=seconds_left,
        base_digest=base_digest(ctx.store, decode_header(row.header.body).model_version),
        facts=row.facts,
    )


def closed(ctx: ServerContext, row: RoundRow, client: str) -> RoundClosed:
    """How a round ended for one client."""
    reason = (row.sets or {}).get(client, "absent")
    verdict = "accepted" if reason == ACCEPTED else "late" if reason in ABSENT else "excluded"
    return closed_as(ctx, row, str(row.outcome), verdict, reason)


def closed_as(ctx: ServerContext, row: RoundRow, outcome: str, verdict: str, reason: str) -> RoundClosed:
    """The same with a verdict that is known; with the newest model of the round's cluster."""
    head = ctx.store.lineage.head(row.cluster)
    return RoundClosed(row.round, outcome, head.version, head.digest, verdict, reason)
