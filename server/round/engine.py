"""One round, top to bottom (steps 8 to 12 of docs/ARCHITECTURE.md).

Every stage ends with a fact in the journal, and each begins by looking whether that fact is there already: after a
`kill -9` the same function is called again and goes on where the journal ends. The stages are deterministic given the
receipts, so the bytes of the next model do not depend on how often the process died.

What a stage found stands in the `RoundState`; nothing outside `server/round/` writes to it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Mapping
from functools import partial

from roughfed import crash
from roughfed.errors import LocalProtocolError, RoundError
from roughfed.logs import in_round
from roughfed.server.aggregate.combine import combine
from roughfed.server.aggregate.control_variates import ledger_of, with_variates
from roughfed.server.cohort.collection import LEFT_BEHIND, Collection, Decision
from roughfed.server.cohort.response_times import NO_PATIENCE
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.defence.findings import Measured
from roughfed.server.defence.verdict import Verdict
from roughfed.server.model.downlink import next_files, place
from roughfed.server.optimize import stepper
from roughfed.server.round.acceptance import accepted
from roughfed.server.round.jobs import closed
from roughfed.server.round.offer import offer, say_whether_asked
from roughfed.server.round.opening import open_round, taken_up
from roughfed.server.round.summary import report_client_evaluations, summarize
from roughfed.server.round.updates import reference_updates
from roughfed.server.round.updates.interface import Statistics, Updates
from roughfed.server.round.updates.masked import MaskedUpdates
from roughfed.server.round.updates.plain import PlainUpdates
from roughfed.server.storage.store import ABSENT, GONE, LATE, LEFT, RoundRow

log = logging.getLogger(__name__)

LATE_ROUNDS = 3
"""A client that was late so often in a row may still deliver, but is not waited for once the quorum is there."""

RESTART_GRACE_S = 30.0
"""After a restart nobody is connected: clients get this long to come back before the quorum goes on without them."""

DROPOUTS = {GONE: "disconnected", LEFT: "left-behind", LATE: "deadline"}


async def run_round(ctx: ServerContext) -> RoundRow:
    """Run one round, or finish the one that the journal left open.

    Returns:
        the round as journaled; its outcome is "committed" or "abandoned".
    """
    round_ = await open_round(ctx)
    ctx.trace.begin(round_.row)
    in_round(ctx.run, round_.number)
    updates = updates_of(ctx, round_)
    try:
        if round_.row.sets is None:
            send_jobs(ctx, round_, updates)
            if reason := await updates.set_up():
                return await abandon(ctx, round_, updates, reason)
            decision = await collect(ctx, round_, updates)
            if decision.action == "abandon":
                return await abandon(ctx, round_, updates, decision.reason)
            await updates.agree()
            await judge(ctx, round_, updates)
        if reason := updates.nothing_to_sum():
            return await abandon(ctx, round_, updates, reason)
        await aggregate(ctx, round_, updates)
        round_.row = await accepted(ctx, round_.row)
    except RoundError as error:  # too few for the defence, a sum that is none, or nobody above waits for it
        return await abandon(ctx, round_, updates, error.reason)
    row = round_.row
    seconds = (row.closed_at or row.opened_at) - row.opened_at
    ctx.metrics.round_closed(row.outcome or "committed", seconds, again=taken_up(ctx, row))
    await announce(ctx, round_, updates)
    return round_.row


def updates_of(ctx: ServerContext, round_: RoundState) -> Updates:
    """How the updates of a round are collected, judged and summed."""
    return MaskedUpdates(ctx, round_) if round_.header.masked else PlainUpdates(ctx, round_)


def send_jobs(ctx: ServerContext, round_: RoundState, updates: Updates) -> None:
    """Accept updates, and push the jobs."""
    ctx.state.enter("report")
    row = round_.row
    opened, deadline_s = ctx.state.clock(), ctx.extensions.in_time(round_.header.deadline_s)
    resumed = taken_up(ctx, row)  # nobody can be back yet
    round_.collection = collection = Collection(
        members=frozenset(row.cohort),
        goal=row.goal,
        quorum=ctx.config.round.needed(row.goal),
        deadline=opened + deadline_s,
        opened=opened,
        patience=NO_PATIENCE if resumed else ctx.clients.habits.patience(ctx.config.round.patience),
        received=set(ctx.store.receipts(ctx.run, row.round)),
        refused={client: why[1] for client, why in ctx.store.refusals(row.round).items()},
    )
    present = [session for name in row.cohort if (session := ctx.clients.get(name)) is not None]
    away = set(row.cohort) - {session.name for session in present}
    collection.lost(away, opened, grace=min(RESTART_GRACE_S, deadline_s) if resumed else 0.0)
    slow = [each.name for each in present if ctx.clients.late_rounds.get(each.name, 0) >= LATE_ROUNDS]
    collection.lost(slow, opened, grace=0.0)
    round_.identity_keys.update({each.name: ctx.clients.identity_keys[each.name] for each in present})
    ctx.intake.open_round(updates.demand())
    for session in present:
        offer(ctx, round_, session)
    reference_updates.begin(ctx, round_)
    crash.point("jobs-sent")


async def collect(ctx: ServerContext, round_: RoundState, updates: Updates) -> Decision:
    """Wait until enough updates are on disk, or until there is no more time."""
    if updates.collected():  # a restart
        ctx.intake.close_round()
        return Decision("close", "decided before")
    if (collection := round_.collection) is None:
        raise LocalProtocolError("collect before the jobs are sent")
    while (decision := collection.decide(ctx.state.clock())).action == "wait":
        ctx.metrics.participants("report", len(collection.received))
        await ctx.state.sleep_until_change(decision.until)
        if ctx.state.stopping and not ctx.intake.busy:
            raise asyncio.CancelledError  # the round stays open in the journal; the next start goes on with it
        ctx.extensions.check()
    ctx.metrics.participants("report", len(collection.received))
    collection.ended = decision.reason
    if collection.patience.factor:
        ctx.clients.habits.note(collection, ctx.state.clock())
    log.info("round %d: %s (%s)", round_.number, decision.action, decision.reason, extra={"round": round_.number})
    ctx.intake.close_round()
    await ctx.store.settle()  # a receipt on its way into the journal counts: its client will be told that it does
    return decision


async def judge(ctx: ServerContext, round_: RoundState, updates: Updates, *, defend: bool = True) -> None:
    """Verdicts: who is in the sum, who is not, and why. Journaled before anybody is told.

    Raises:
        TooFewClients: the defence cannot hold among so few; with `defend` false it is not asked.
    """
    row = round_.row
    sets = await updates.verdicts(missing_clients(ctx, round_), defend=defend)
    received = ctx.store.receipts(ctx.run, row.round).keys()  # what was refused on arrival is counted already
    for name, reason in sets.items():
        if reason and reason not in ABSENT and name in received:
            ctx.metrics.left_out(reason)
    found = round_.verdict if round_.verdict is not None and defend else Verdict()
    for name, reason in found.excluded.items():
        if sets.get(name) == reason:  # what is proved later comes before what the rule found
            ctx.metrics.excluded(ctx.defence.name, reason, client=name)
    count_late_rounds(ctx, sets)
    nothing: tuple[Statistics, Mapping[str, Statistics]] = ({}, {})
    sums, statics = updates.statistics(sets) if defend else nothing
    await ctx.store.set_sets(row.round, sets, sums=sums, statics=statics)
    crash.point("sets-journaled")
    round_.row = dataclasses.replace(row, sets=sets, sums=sums)


def missing_clients(ctx: ServerContext, round_: RoundState) -> dict[str, str]:
    """Who gave nothing that could count: refused at admission, left by its own word, gone, turned away, or late."""
    missing = {client: reason for client, (_, reason, _) in ctx.store.refusals(round_.number).items()}
    if (collection := round_.collection) is None:
        return missing
    received = ctx.store.receipts(ctx.run, round_.number).keys()  # the engine may not have heard of one yet
    missing = {client: why for client, why in collection.refused.items() if client not in received} | missing
    for client in collection.pending() - missing.keys() - received:
        slow = LEFT if collection.ended == LEFT_BEHIND else LATE
        why = GONE if client in collection.gone else ctx.intake.turned_away.get(client, slow)
        missing[client] = why
        ctx.metrics.dropout("report", DROPOUTS.get(why, "refused"))
    return missing


def count_late_rounds(ctx: ServerContext, sets: Mapping[str, str]) -> None:
    """Count rounds in a row for which a connected client had nothing that counts in time: then none waits for it."""
    late = ctx.clients.late_rounds
    for client, verdict in sets.items():
        in_vain = verdict == LATE or (verdict and verdict == ctx.intake.turned_away.get(client))
        late[client] = late.get(client, 0) + 1 if in_vain else 0


async def aggregate(ctx: ServerContext, round_: RoundState, updates: Updates) -> None:
    """The accepted updates become the next version: mean, step, commit."""
    ctx.state.enter("aggregate")
    row, header = round_.row, round_.header
    ctx.metrics.participants("aggregate", len(row.accepted))
    weighting = "uniform" if ctx.config.trainer.scaffold else ctx.config.aggregate.weighting_of(header.server_sees)
    await updates.prepare_mean()
    version = ctx.store.latest_model()[0] + 1  # of all clusters; its own base is what the header names
    digest = await make_version(ctx, round_, updates, version, weighting)
    ctx.state.enter("commit")
    now = time.time()
    if found := updates.evaluations():
        await ctx.store.add_evaluations(header.model_version, found)
        await updates.add_comparisons()
        report_client_evaluations(ctx, header.model_version)
    await ctx.extensions.on_stepped(round_, weighting)
    await ctx.store.commit(row.round, version=version, digest=digest, now=now, base=header.model_version)
    crash.point("committed")
    round_.row = dataclasses.replace(row, outcome="committed", closed_at=now)


async def make_version(ctx: ServerContext, round_: RoundState, updates: Updates, version: int, weighting: str) -> bytes:
    """Mean, step and the files of the next version, not committed yet; returns the digest of its parameters."""
    header, store, began = round_.header, ctx.store, time.perf_counter()
    step, base = stepper(ctx.config.optimize), store.model_path(header.model_digest)
    ledger = ledger_of(store, round_.row) if ctx.config.trainer.scaffold else None
    quantised = ctx.config.codec.downlink_of(header.server_sees) == "int8"
    head = store.lineage.version(header.model_version)
    files = next_files(store, version, quantised=quantised, stepper=step, base=head)
    files = dataclasses.replace(files, work=ctx.work)
    write = partial(combine, base, spec=ctx.spec, stepper=step, into=files, executor=ctx.executor)

    def combined() -> tuple[bytes, float]:  # all in the thread: a round that is cancelled must not close what is read
        with updates.mean(weighting) as read, ctx.extensions.on_mean(round_, version, read) as mean:
            measured = Measured(mean)
            digest = write(measured if ledger is None else with_variates(measured, ctx.spec, base, ledger))
            return digest, measured.norm

    digest, norm = await asyncio.to_thread(combined)
    await asyncio.to_thread(place, store, files, version, digest)
    crash.point("model-written")
    ctx.metrics.aggregated(weighting, time.perf_counter() - began, norm=norm)
    return digest


async def announce(ctx: ServerContext, round_: RoundState, updates: Updates) -> None:
    """Tell every member how the round ended for it, keep the figures, clear the spool."""
    row = round_.row
    for client in row.cohort:
        if (session := ctx.clients.get(client)) is not None:
            session.send(closed(ctx, row, client))
    crash.point("announced")
    needed = [client for client in row.cohort if round_.needs(client)]
    round_.collection = None
    for client in needed:
        if client in ctx.clients.quarantined:
            say_whether_asked(ctx, client)
    ctx.state.enter("waiting")
    await updates.forget_stages()
    await ctx.store.set_summary(row.round, found := summarize(ctx, round_))
    crash.point("summary-journaled")
    ctx.metrics.summarized(found)
    ctx.metrics.worked(ctx.work.take())
    ctx.intake.discard(ctx.run, row.round, list(row.cohort))
    updates.discard()
    await reference_updates.forget(ctx, round_)
    await ctx.extensions.on_closed(round_)
    ctx.trace.finish(row, upload_bytes=ctx.state.traffic.upload, download_bytes=ctx.state.traffic.download)
    round_.masked = round_.result = round_.verdict = None


async def abandon(ctx: ServerContext, round_: RoundState, updates: Updates, reason: str) -> RoundRow:
    """End the round without a new version."""
    now, row = time.time(), round_.row
    ctx.intake.close_round()
    ctx.trace.abandoned(reason)
    if row.sets is None:
        await updates.give_up()
        await judge(ctx, round_, updates, defend=False)
    await ctx.store.abandon(row.round, reason, now)
    ctx.metrics.round_closed("abandoned", now - row.opened_at, again=taken_up(ctx, row))
    round_.row = dataclasses.replace(round_.row, outcome="abandoned", closed_at=now, reason=reason)
    await announce(ctx, round_, updates)
    return round_.row
