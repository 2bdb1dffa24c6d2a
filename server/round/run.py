"""The run: rounds one after another until there are enough, with evaluation, early stop and clean-up between them."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from roughfed import crash
from roughfed.errors import RoughfedError
from roughfed.logs import between_rounds
from roughfed.messages import EvaluationReport, Finished
from roughfed.server.cohort.tiers import waiting_for
from roughfed.server.context.server import ServerContext
from roughfed.server.members.member_list import AGAIN_S
from roughfed.server.members.sessions import ClientSession
from roughfed.server.metrics.spread import of_values
from roughfed.server.model.retention import Quality
from roughfed.server.model.validation import SERVER, TAKEN_BACK
from roughfed.server.round.acceptance import accepted, add_evaluation
from roughfed.server.round.engine import run_round
from roughfed.server.round.events import RoundEvents
from roughfed.server.round.header import make_header
from roughfed.server.round.jobs import job_for
from roughfed.server.round.summary import complete_summary
from roughfed.server.storage.comparisons import keep_compared
from roughfed.server.storage.lineage import DEFAULT
from roughfed.server.storage.rollback import settle
from roughfed.server.storage.store import RoundRow

log = logging.getLogger(__name__)

FINAL_EVALUATION_S = 120.0
RETURN_S = 10.0

LOST_ROUNDS = 5
"""Abandoned rounds in a row after which the run is paused instead of burning on."""

PAUSE_S, PAUSE_CEILING_S = 1.0, 60.0


async def run_rounds(ctx: ServerContext, events: RoundEvents) -> str:
    """Run rounds until the run is over.

    Returns:
        why it is over: "rounds", "time-budget" or "early-stop".
    """
    clock = RunClock(ctx)
    await begin(ctx)
    async with beside(ctx.extensions.catch_up) as catch_up:
        reason = await go_round(ctx, clock, catch_up)
    await evaluate(ctx, final=True)
    await ctx.extensions.on_last_round()
    await evaluate_everywhere(ctx, events)
    await ctx.extensions.finish()
    await ctx.extensions.catch_up()
    last = await finish(ctx, reason)
    log.info("the run is over (%s): version %d, digest %s", reason, last.model_version, last.model_digest.hex()[:16])
    return reason


@asynccontextmanager
async def beside(work: Callable[[], Awaitable[None]]) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
    """Give a function that lets `work` begin, once its last time is over; leaving waits for it."""
    last: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    last.set_result(None)

    async def begin_again() -> None:
        nonlocal last
        await last
        last = asyncio.ensure_future(work())

    try:
        yield begin_again
    finally:
        await last


async def go_round(ctx: ServerContext, clock: RunClock, catch_up: Callable[[], Awaitable[None]]) -> str:
    """Round after round; the ledger is written beside the next one. Returns why the run is over."""
    if clock.over() is None:
        await ctx.store.set_finished(None)  # a finished run goes on: `round.rounds` was raised
    evaluation: asyncio.Task[None] | None = None
    lost = 0
    while (reason := clock.over()) is None:
        if not await ready(ctx, clock.until) or not await ctx.extensions.between(clock.until):
            continue
        row = await run_round(ctx)
        await catch_up()
        if row.outcome != "committed":
            lost += 1
            await recover(ctx, row, lost)
            continue
        lost = 0
        await ctx.extensions.on_committed(row)
        if evaluation is not None:
            await evaluation
        evaluation = asyncio.create_task(evaluate(ctx))
        if ctx.config.round.early_stop_rounds:
            await evaluation
        prune(ctx, clock.quality)
    if evaluation is not None:
        await evaluation
    return reason


async def forget(ctx: ServerContext, row: RoundRow) -> None:
    """Drop what lies about a round beside its row: the stages, and the updates."""
    await ctx.stages.forget(row.round)
    ctx.intake.discard(ctx.run, row.round, list(row.cohort))


async def begin(ctx: ServerContext) -> None:
    """Take up a run where its journal ends."""
    await settle(ctx.store, ctx.run, partial(forget, ctx))
    last = ctx.store.last_round()
    if last is not None and last.summary is None:  # it died before anybody was told how the round had ended
        await accepted(ctx, last)
    await complete_summary(ctx)
    ctx.extensions.resume()
    await ctx.extensions.catch_up()


async def finish(ctx: ServerContext, reason: str) -> Finished:
    """The run is over: journaled, then told to everybody who is here; whoever comes back later hears it, too."""
    await ctx.store.set_finished(reason)
    crash.point("run-finished")
    ctx.intake.forget_spares()
    version, digest = ctx.store.latest_model()
    ctx.clients.farewell = farewell = Finished(reason, version, digest)
    send_farewell(ctx, farewell)
    return farewell


def prune(ctx: ServerContext, quality: Quality) -> None:
    """Delete the versions that nobody needs."""
    model = ctx.config.model
    rewards = bool(ctx.config.reward.levels)  # they begin with the first model
    quality.prune(keep_last=model.keep_last, keep_best=model.keep_best, keep_first=rewards)


def send_farewell(ctx: ServerContext, farewell: Finished) -> None:
    """Tell everybody who is here, each with the model of its cluster."""
    for session in ctx.clients.all():
        session.send(ctx.extensions.schedule.farewell(farewell, session.name))


class RunClock:
    """Is the run over? Rounds are counted by committed versions: an abandoned round brought nothing."""

    def __init__(self, ctx: ServerContext) -> None:
        """The time budget counts from now, the start of this server process."""
        self._ctx = ctx
        self.quality = Quality(ctx.store)
        budget = ctx.config.round.time_budget
        self.until = ctx.state.clock() + budget if budget else None

    def over(self) -> str | None:
        """Why the run is over; None while it goes on. An open round is finished first."""
        settings, last = self._ctx.config.round, self._ctx.store.last_round()
        if last is not None and last.outcome is None:
            return None
        if self._ctx.extensions.schedule.over():
            return "rounds"
        if self.until is not None and self._ctx.state.clock() >= self.until:
            return "time-budget"
        if settings.early_stop_rounds and self.quality.stale_rounds() >= settings.early_stop_rounds:
            return "early-stop"
        return None


async def ready(ctx: ServerContext, until: float | None) -> bool:
    """Wait for enough clients; a round that is open in the journal goes on with whoever comes back.

    Returns:
        whether a round can be played now; False when the time is up.
    """
    last = ctx.store.last_round()
    if last is not None and last.outcome is None:
        return True
    ctx.state.enter("waiting")
    between_rounds()
    told = -1
    while until is None or ctx.state.clock() < until:
        if ctx.state.stopping:
            raise asyncio.CancelledError
        ctx.extensions.check()
        names = set(ctx.clients.names()) - ctx.clients.quarantined.keys()
        here, enough = len(names), len(names) >= ctx.config.clients_to_start
        short = waiting_for(ctx.config, ctx.clients.hellos(names)) if enough else ctx.config.waiting(here)
        if not short and not ctx.state.paused and not (short := await unlisted(ctx, names)):
            return True
        if here != told and not ctx.state.paused:
            log.info("%s", short)
            told = here
        again = ctx.state.clock() + AGAIN_S if enough and short else math.inf
        await ctx.state.sleep_until_change(again if until is None else min(until, again))
    return False


async def recover(ctx: ServerContext, row: RoundRow, lost: int) -> None:
    """After an abandoned round: wait longer each time, and after a few leave it to the operator."""
    reasons = sorted({why for why in (row.sets or {}).values() if why})
    why = row.reason if row.reason.startswith(TAKEN_BACK) else ", ".join(reasons) or "nobody answered"
    log.error("round %d was abandoned (%s), %d in a row", row.round, why, lost)
    if lost >= LOST_ROUNDS:
        ctx.state.paused = True
        log.error("paused after %d abandoned rounds: mend the cause, then `roughfed resume`", lost)
        ctx.state.wake()
        return
    until = ctx.state.clock() + min(PAUSE_CEILING_S, PAUSE_S * 2 ** (lost - 1))
    while not ctx.state.stopping and ctx.state.clock() < until:
        await ctx.state.sleep_until_change(until)


async def evaluate(ctx: ServerContext, *, final: bool = False) -> None:
    """Side tap: the worker's view of the newest model, kept and shown; it never feeds back into a round."""
    version, digest = ctx.store.latest_model()
    every = ctx.config.round.evaluate_every
    if ctx.worker is None or every == 0 or (version % every and not final) or ctx.config.model.private:
        return
    if ctx.extensions.schedule.on:  # the server's data are of one law, and a model is for clients of another
        return
    if (final or ctx.config.defence.rollback) and ctx.store.evaluations(version, source=SERVER):
        return
    found = await ctx.worker.evaluate(ctx.store.model_path(digest), model_digest=digest)
    if found is not None:
        await add_evaluation(ctx, version, found)


async def evaluate_everywhere(ctx: ServerContext, events: RoundEvents) -> None:
    """Ask every client to evaluate its final model on its held-out data; one that comes back is asked again."""
    if ctx.config.round.evaluate_every == 0 or ctx.config.privacy.masked:  # each one's alone would be in the clear
        return
    await returned(ctx)
    ctx.state.enter("evaluate")
    events.final_evaluations.clear()
    rows: dict[str, RoundRow] = {}
    asked: dict[str, ClientSession] = {}
    deadline = ctx.state.clock() + min(FINAL_EVALUATION_S, ctx.config.round.deadline)
    while not ctx.state.stopping and ctx.state.clock() < deadline:
        owing = [
            s
            for s in ctx.clients.all()
            if s.name not in events.final_evaluations.keys() | ctx.clients.quarantined.keys()
        ]
        if not owing:
            break
        for session in owing:
            if asked.get(session.name) is not session:
                asked[session.name] = session
                cluster = ctx.extensions.schedule.cluster_of(session.name)
                row = rows.setdefault(cluster, evaluation_row(ctx, cluster))
                session.send(job_for(ctx, row, session.name, seconds_left=FINAL_EVALUATION_S, train=False))
        await ctx.state.sleep_until_change(deadline)
    accuracies: list[float] = []
    for cluster in rows or [DEFAULT]:
        accuracies += await add_final(ctx, cluster, events.final_evaluations)
    if even := of_values(accuracies):
        ctx.metrics.evaluated(accuracy={"clients_mean": even["mean"], "worst10": even["worst10"]})
    ctx.state.enter("waiting")


async def add_final(ctx: ServerContext, cluster: str, evaluations: Mapping[str, EvaluationReport]) -> list[float]:
    """Keep what a cluster's clients found about its final model; returns their accuracies."""
    head = ctx.store.lineage.head(cluster)
    reports = {name: each for name, each in evaluations.items() if ctx.extensions.schedule.cluster_of(name) == cluster}
    found = {name: e for name, report in reports.items() if (e := report.evaluation).model_digest == head.digest}
    await ctx.store.add_evaluations(head.version, found.items())
    await keep_compared(ctx.store, head.version, head.digest, reports)
    return [a for e in found.values() if (a := e.accuracy) is not None]


async def returned(ctx: ServerContext) -> None:
    """After a restart at the very end nobody is connected yet: let the last cohort come back first."""
    last = ctx.store.last_round()
    if ctx.state.round is not None or last is None or ctx.store.finished() is not None:
        return
    deadline = ctx.state.clock() + RETURN_S
    while (
        not ctx.state.stopping
        and ctx.state.clock() < deadline
        and set(last.cohort) - set(ctx.clients.names()) - ctx.clients.away.keys()
    ):
        await ctx.state.sleep_until_change(deadline)


def evaluation_row(ctx: ServerContext, cluster: str = DEFAULT) -> RoundRow:
    """A round that only evaluates: it has a header, so that clients know whose model it is, and no journal entry."""
    last = ctx.store.last_round()
    number = last.round + 1 if last else 1
    fields = {"round": number, "roster_root": bytes(32), "deadline_s": FINAL_EVALUATION_S}
    header = make_header(ctx, after=last, fields=fields, train=False, cluster=cluster)
    return RoundRow(number, header, (), 0, time.time(), None, None, None, cluster=cluster)


async def unlisted(ctx: ServerContext, names: Iterable[str]) -> str:
    """Why no round can begin with these clients because of the member list; empty where one can."""
    listing = ctx.clients.listing
    try:
        await listing.refresh()
    except RoughfedError as error:
        return f"waiting for a list of members: {error}"
    sessions = [session for name in names if (session := ctx.clients.get(name)) is not None]
    found, needed = len(listing.listed(sessions)), ctx.config.clients_to_start
    return "" if found >= needed else f"waiting: {found} of {needed} clients are in the member list"
