"""Does the version that a round made stand? Judged after its commit, and before anybody is told how the round ended.

So a round whose version is taken back (`defence.rollback`) is an abandoned one to all who hear of it: the clients, the
ledger, the scores, the report.
"""

from __future__ import annotations

import dataclasses
import logging
import time

from roughfed import crash
from roughfed.server.context.server import ServerContext
from roughfed.server.model.validation import SERVER, TAKEN_BACK, best_before, discard, fault_of
from roughfed.server.round.summary import report_evaluation
from roughfed.server.storage.lineage import Version
from roughfed.server.storage.store import RoundRow
from roughfed.types import Evaluation

log = logging.getLogger(__name__)


async def accepted(ctx: ServerContext, row: RoundRow) -> RoundRow:
    """The round as it stands once its version was judged on the server's data.

    A version that the worker could not evaluate stands: the next one is judged by those before it.
    """
    allowed = ctx.config.defence.rollback
    made = ctx.store.lineage.made_in(row.round) if allowed and row.outcome == "committed" else None
    version = None if made is None else ctx.store.lineage.version(made)
    if version is None or ctx.store.evaluations(version.version, source=SERVER):
        return row
    ctx.state.enter("evaluate")
    base = ctx.store.lineage.base_of(version.version)
    before = None if base is None else await evaluated(ctx, base)
    found = await measure(ctx, version)
    if found is None:
        log.warning("round %d: version %d could not be judged, and stands", row.round, version.version)
        return row
    if not (fault := fault_of(found, before, best_before(ctx.store, version.version), allowed)):
        await add_evaluation(ctx, version.version, found)
        return row
    now, reason = time.time(), f"{TAKEN_BACK}: {fault}"
    await ctx.store.take_back(row.round, reason, now)
    crash.point("taken-back")
    discard(ctx.store, version)
    return dataclasses.replace(row, outcome="abandoned", closed_at=now, reason=reason)


async def evaluated(ctx: ServerContext, version: Version) -> Evaluation | None:
    """What the server's data say of a version, looked up or else measured now: of the first one nobody has asked."""
    if known := ctx.store.evaluations(version.version, source=SERVER):
        return known[SERVER]
    if (found := await measure(ctx, version)) is not None:
        await ctx.store.add_evaluations(version.version, [(SERVER, found)])
    return found


async def measure(ctx: ServerContext, version: Version) -> Evaluation | None:
    """Ask the worker; None where there is none, or it could not."""
    if ctx.worker is None:
        return None
    return await ctx.worker.evaluate(ctx.store.model_path(version.digest), model_digest=version.digest)


async def add_evaluation(ctx: ServerContext, version: int, found: Evaluation) -> None:
    """Keep and show what the server's own data say of a version."""
    await ctx.store.add_evaluations(version, [(SERVER, found)])
    report_evaluation(ctx, found)
    ctx.state.wake()
