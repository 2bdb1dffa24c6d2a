"""The run: rounds one after another until there are enough, with evaluation, early stop and clean-up between them."""

from __future__ import annotations

import asyncio
import logging
import math
import time

from roughfed import crash
from roughfed.logs import between_rounds
from roughfed.messages import Finished
from roughfed.server import contributing
from roughfed.server.accounts import catch_up
from roughfed.server.classes import waiting_for
from roughfed.server.clusters.asking import assigned
from roughfed.server.compared import keep_compared
from roughfed.server.fairness.spread import of_values
from roughfed.server.federation import Federation
from roughfed.server.figures import complete_summary, show
from roughfed.server.finish import calibrate_last, calibrate_round
from roughfed.server.incentive.watching import keeps_first
from roughfed.server.lineage import DEFAULT
from roughfed.server.listing import AGAIN_S, lacking
from roughfed.server.membership import Session
from roughfed.server.quality import Quality
from roughfed.server.rolled_back import settle
from roughfed.server.round import make_header, run_round
from roughfed.server.store import RoundRow

log = logging.getLogger(__name__)

FINAL_EVALUATION_S = 120.0
RETURN_S = 10.0

LOST_ROUNDS = 5
"""Abandoned rounds in a row after which the run is paused instead of burning on."""

PAUSE_S, PAUSE_CEILING_S = 1.0, 60.0


async def run_rounds(fed: Federation) -> str:
    """Play rounds until the run is over.

    Returns:
        why it is over: "rounds", "time-budget" or "early-stop".
    """
    clock = Clock(fed)
    await settle(fed)
    await complete_summary(fed)
    contributing.begin(fed)
    await catch_up(fed)
    if clock.over() is None:
        await fed.store.set_finished(None)  # a finished run goes on: `round.rounds` was raised
    evaluation: asyncio.Task[None] | None = None
    lost = 0
    while (reason := clock.over()) is None:
        if not await ready(fed, clock.until) or not await assigned(fed, clock.until):
            continue
        row = await run_round(fed)
        await catch_up(fed)
        if row.outcome != "committed":
            lost += 1
            await recover(fed, row, lost)
            continue
        lost = 0
        await calibrate_round(fed, row)
        if evaluation is not None:
            await evaluation
        evaluation = asyncio.create_task(evaluate(fed))
        if fed.config.round.early_stop_rounds:
            await evaluation
        prune(fed, clock.quality)
    if evaluation is not None:
        await evaluation
    await evaluate(fed, final=True)
    await calibrate_last(fed)
    await evaluate_everywhere(fed)
    await contributing.settle(fed)
    await catch_up(fed)
    last = await finish(fed, reason)
    log.info("the run is over (%s): version %d, digest %s", reason, last.model_version, last.model_digest.hex()[:16])
    return reason


async def finish(fed: Federation, reason: str) -> Finished:
    """The run is over: journaled, then told to everybody who is here; whoever comes back later hears it, too."""
    await fed.store.set_finished(reason)
    crash.point("run-finished")
    version, digest = fed.store.latest_model()
    fed.farewell = Finished(reason, version, digest)
    say_so(fed, fed.farewell)
    return fed.farewell


def prune(fed: Federation, quality: Quality) -> None:
    """Delete the versions that nobody needs."""
    model = fed.config.model
    quality.prune(keep_last=model.keep_last, keep_best=model.keep_best, keep_first=keeps_first(fed.config))


def say_so(fed: Federation, farewell: Finished) -> None:
    """Tell everybody who is here, each with the model of its cluster."""
    for session in fed.members.all():
        session.send(fed.clusters.farewell(farewell, session.name))


class Clock:
    """Is the run over? Rounds are counted by committed versions: an abandoned round brought nothing."""

    def __init__(self, fed: Federation) -> None:
        """The time budget counts from now, the start of this server process."""
        self._fed = fed
        self.quality = Quality(fed.store)
        budget = fed.config.round.time_budget
        self.until = fed.clock() + budget if budget else None

    def over(self) -> str | None:
        """Why the run is over; None while it goes on. An open round is finished first."""
        settings, last = self._fed.config.round, self._fed.store.last_round()
        if last is not None and last.outcome is None:
            return None
        if self._fed.clusters.over():
            return "rounds"
        if self.until is not None and self._fed.clock() >= self.until:
            return "time-budget"
        if settings.early_stop_rounds and self.quality.stale_rounds() >= settings.early_stop_rounds:
            return "early-stop"
        return None


async def ready(fed: Federation, until: float | None) -> bool:
    """Wait for enough clients; a round that is open in the journal goes on with whoever comes back.

    Returns:
        whether a round can be played now; False when the time is up.
    """
    last = fed.store.last_round()
    if last is not None and last.outcome is None:
        return True
    fed.enter("waiting")
    between_rounds()
    told = -1
    while until is None or fed.clock() < until:
        if fed.stopping:
            raise asyncio.CancelledError
        fed.check_order()
        names = set(fed.members.names()) - fed.quarantined.keys()
        here, enough = len(names), len(names) >= fed.config.clients_to_start
        short = waiting_for(fed, names) if enough else fed.config.waiting(here)
        if not short and not fed.paused and not (short := await lacking(fed, names)):
            return True
        if here != told and not fed.paused:
            log.info("%s", short)
            told = here
        again = fed.clock() + AGAIN_S if enough and short else math.inf
        await fed.sleep_until_change(again if until is None else min(until, again))
    return False


async def recover(fed: Federation, row: RoundRow, lost: int) -> None:
    """After an abandoned round: wait longer each time, and after a few leave it to the operator."""
    reasons = sorted({why for why in (row.sets or {}).values() if why})
    log.error("round %d was abandoned (%s), %d in a row", row.round, ", ".join(reasons) or "nobody answered", lost)
    if lost >= LOST_ROUNDS:
        fed.paused = True
        log.error("paused after %d abandoned rounds: mend the cause, then `roughfed resume`", lost)
        fed.wake()
        return
    until = fed.clock() + min(PAUSE_CEILING_S, PAUSE_S * 2 ** (lost - 1))
    while not fed.stopping and fed.clock() < until:
        await fed.sleep_until_change(until)


async def evaluate(fed: Federation, *, final: bool = False) -> None:
    """Side tap: the worker's view of the newest model, kept and shown; it never feeds back into a round."""
    version, digest = fed.store.latest_model()
    every = fed.config.round.evaluate_every
    if fed.worker is None or every == 0 or (version % every and not final) or fed.config.model.private:
        return
    if fed.clusters.on:  # the server's data are of one law, and a model is for clients of another
        return
    if final and "" in fed.store.evaluations(version):
        return
    found = await fed.worker.evaluate(fed.store.model_path(digest), model_digest=digest)
    if found is not None:
        await fed.store.add_evaluations(version, [("", found)])
        show(fed, found)
        fed.wake()


async def evaluate_everywhere(fed: Federation) -> None:
    """Ask every client to evaluate its final model on its held-out data; one that comes back is asked again."""
    if fed.config.round.evaluate_every == 0 or fed.config.privacy.masked:  # each one's alone would be in the clear
        return
    await returned(fed)
    fed.enter("evaluate")
    fed.final_evaluations.clear()
    rows: dict[str, RoundRow] = {}
    asked: dict[str, Session] = {}
    deadline = fed.clock() + min(FINAL_EVALUATION_S, fed.config.round.deadline)
    while not fed.stopping and fed.clock() < deadline:
        owing = [s for s in fed.members.all() if s.name not in fed.final_evaluations.keys() | fed.quarantined.keys()]
        if not owing:
            break
        for session in owing:
            if asked.get(session.name) is not session:
                asked[session.name] = session
                cluster = fed.clusters.cluster_of(session.name)
                row = rows.setdefault(cluster, evaluation_row(fed, cluster))
                session.send(fed.job(row, session.name, seconds_left=FINAL_EVALUATION_S, train=False))
        await fed.sleep_until_change(deadline)
    accuracies: list[float] = []
    for cluster in rows or [DEFAULT]:
        accuracies += await keep_final(fed, cluster)
    if even := of_values(accuracies):
        fed.metrics.evaluated(accuracy={"clients_mean": even["mean"], "worst10": even["worst10"]})
    fed.enter("waiting")


async def keep_final(fed: Federation, cluster: str) -> list[float]:
    """Keep what a cluster's clients found about its final model; returns their accuracies."""
    head = fed.store.lineage.head(cluster)
    reports = {name: each for name, each in fed.final_evaluations.items() if fed.clusters.cluster_of(name) == cluster}
    found = {name: e for name, report in reports.items() if (e := report.evaluation).model_digest == head.digest}
    await fed.store.add_evaluations(head.version, found.items())
    await keep_compared(fed.store, head.version, head.digest, reports)
    return [a for e in found.values() if (a := e.accuracy) is not None]


async def returned(fed: Federation) -> None:
    """After a restart at the very end nobody is connected yet: let the last cohort come back first."""
    last = fed.store.last_round()
    if fed.row is not None or last is None or fed.store.finished() is not None:
        return
    deadline = fed.clock() + RETURN_S
    while not fed.stopping and fed.clock() < deadline and set(last.cohort) - set(fed.members.names()) - fed.away.keys():
        await fed.sleep_until_change(deadline)


def evaluation_row(fed: Federation, cluster: str = DEFAULT) -> RoundRow:
    """A round that only evaluates: it has a header, so that clients know whose model it is, and no journal entry."""
    last = fed.store.last_round()
    number = last.round + 1 if last else 1
    fields = {"round": number, "roster_root": bytes(32), "deadline_s": FINAL_EVALUATION_S}
    header = make_header(fed, after=last, fields=fields, train=False, cluster=cluster)
    return RoundRow(number, header, (), 0, time.time(), None, None, None, cluster=cluster)
