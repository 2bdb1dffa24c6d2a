"""The run: rounds one after another until there are enough, with evaluation, early stop and clean-up between them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from roughfed import crash
from roughfed.messages import Finished
from roughfed.server.federation import Federation
from roughfed.server.membership import Session
from roughfed.server.round import complete_summary, make_header, run_round
from roughfed.server.store import RoundRow, Store
from roughfed.types import Evaluation

log = logging.getLogger(__name__)

FINAL_EVALUATION_S = 120.0
RETURN_S = 10.0


async def run_rounds(fed: Federation) -> str:
    """Play rounds until the run is over.

    Returns:
        why it is over: "rounds", "time-budget" or "early-stop".
    """
    began = time.monotonic()
    await complete_summary(fed)
    if over(fed, began) is None:
        await fed.store.set_finished(None)  # a finished run goes on: `round.rounds` was raised
    evaluation: asyncio.Task[None] | None = None
    while (reason := over(fed, began)) is None:
        await ready(fed)
        row = await run_round(fed)
        if row.outcome == "committed":
            if evaluation is not None:
                await evaluation
            evaluation = asyncio.create_task(evaluate(fed))
            if fed.config.round.early_stop_rounds:
                await evaluation
            prune(fed)
    if evaluation is not None:
        await evaluation
    await evaluate_everywhere(fed)
    await fed.store.set_finished(reason)
    crash.point("run-finished")
    version, digest = fed.store.latest_model()
    fed.farewell = Finished(reason, version, digest)  # whoever comes back later hears it too
    fed.members.broadcast(fed.farewell)
    log.info("the run is over (%s): version %d, digest %s", reason, version, digest.hex()[:16])
    return reason


async def ready(fed: Federation) -> None:
    """Wait for enough clients; a round that is open in the journal goes on with whoever comes back."""
    last = fed.store.last_round()
    if last is not None and last.outcome is None:
        return
    fed.enter("waiting")
    needed = fed.config.round.min_clients
    told = -1
    while True:
        if fed.stopping:
            raise asyncio.CancelledError
        here = len(fed.members.names())
        if here >= needed and not fed.paused:
            return
        if here != told and not fed.paused:
            log.info("waiting: %d of %d clients", here, needed)
            told = here
        await fed.sleep_until_change()


def over(fed: Federation, began: float) -> str | None:
    """Is the run over, and why?"""
    settings, last = fed.config.round, fed.store.last_round()
    if last is not None and last.outcome is None:
        return None
    if last is not None and last.round >= settings.rounds:
        return "rounds"
    if settings.time_budget and time.monotonic() - began >= settings.time_budget:
        return "time-budget"
    if settings.early_stop_rounds and stale_rounds(fed) >= settings.early_stop_rounds:
        return "early-stop"
    return None


async def evaluate(fed: Federation) -> None:
    """Side tap: the worker's view of the newest model, kept and shown; it never feeds back into a round."""
    version, digest = fed.store.latest_model()
    every = fed.config.round.evaluate_every
    if fed.worker is None or every == 0 or (version % every and version < fed.config.round.rounds):
        return
    found = await fed.worker.evaluate(fed.store.model_path(digest), model_digest=digest)
    if found is not None:
        await fed.store.add_evaluations(version, [("", found)])
        show(fed, found)


def show(fed: Federation, found: Evaluation) -> None:
    """Put an evaluation on the server's own data into the metrics."""
    fed.metrics.evaluated(accuracy={"global": found.accuracy, "balanced": found.balanced_accuracy}, loss=found.loss)
    fed.wake()


async def evaluate_everywhere(fed: Federation) -> None:
    """Ask every client to evaluate the final model on its held-out data; one that comes back is asked again."""
    version, digest = fed.store.latest_model()
    if fed.config.round.evaluate_every == 0:
        return
    await returned(fed)
    fed.enter("evaluate")
    fed.final_evaluations.clear()
    row = evaluation_row(fed)
    asked: dict[str, Session] = {}
    deadline = time.monotonic() + min(FINAL_EVALUATION_S, fed.config.round.deadline)
    while not fed.stopping and time.monotonic() < deadline:
        owing = [s for s in fed.members.all() if s.name not in fed.final_evaluations]
        if not owing:
            break
        for session in owing:
            if asked.get(session.name) is not session:
                asked[session.name] = session
                session.send(fed.job(row, session.name, seconds_left=FINAL_EVALUATION_S, train=False))
        await fed.sleep_until_change(deadline)
    found = {name: e for name, e in fed.final_evaluations.items() if e.model_digest == digest}
    await fed.store.add_evaluations(version, found.items())
    accuracies = [a for e in found.values() if (a := e.accuracy) is not None]
    if accuracies:
        worst = sorted(accuracies)[: max(1, len(accuracies) // 10)]
        fed.metrics.evaluated(
            accuracy={"clients_mean": sum(accuracies) / len(accuracies), "worst10": sum(worst) / len(worst)}
        )
    fed.enter("waiting")


async def returned(fed: Federation) -> None:
    """After a restart at the very end nobody is connected yet: let the last cohort come back first."""
    last = fed.store.last_round()
    if fed.row is not None or last is None or fed.store.finished() is not None:
        return
    deadline = time.monotonic() + RETURN_S
    while not fed.stopping and time.monotonic() < deadline and set(last.cohort) - set(fed.members.names()):
        await fed.sleep_until_change(deadline)


def evaluation_row(fed: Federation) -> RoundRow:
    """A round that only evaluates: it has a header, so that clients know whose model it is, and no journal entry."""
    last = fed.store.last_round()
    header = make_header(fed, after=last, roster_root=bytes(32), deadline_s=FINAL_EVALUATION_S)
    return RoundRow(last.round + 1 if last else 1, header, (), 0, time.time(), None, None, None)


def quality(store: Store, version: int) -> float | None:
    """How good a version is: balanced accuracy, else minus the loss; on the server's data, else over the clients'."""
    found = store.evaluations(version)
    pool: Iterable[Evaluation] = [found[""]] if "" in found else found.values()
    balanced = [b for e in pool if (b := e.balanced_accuracy) is not None]
    if balanced:
        return sum(balanced) / len(balanced)
    examples = sum(e.num_examples for e in pool)
    return -sum(e.loss_sum for e in pool) / examples if examples else None


def best_version(store: Store) -> int | None:
    """The version with the best quality (the newest of equals); None before an evaluation."""
    scored = [(q, v) for v, _ in store.versions() if (q := quality(store, v)) is not None]
    return max(scored)[1] if scored else None


def stale_rounds(fed: Federation) -> int:
    """Versions since the best one."""
    best = best_version(fed.store)
    return 0 if best is None else fed.store.latest_model()[0] - best


def prune(fed: Federation) -> None:
    """Delete model files that nobody needs: all but the last K, the best, and the base of the open round."""
    versions = fed.store.versions()
    kept = {digest for _, digest in versions[-max(2, fed.config.model.keep_last) :]}
    if fed.config.model.keep_best and (best := best_version(fed.store)) is not None:
        kept |= {digest for version, digest in versions if version == best}
    for _, digest in versions:
        if digest not in kept:
            fed.store.model_path(digest).unlink(missing_ok=True)
