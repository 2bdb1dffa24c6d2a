"""The rounds of an edge aggregator: each begins with the model of the federation above, and its sum goes up.

What is played is a round as any other; only where its model comes from and where its sum goes is another matter. The
journal says which order a round is for, so a server that was killed goes on with it, and an order that comes again
after its round is committed gets the same sum.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import replace

from pydantic import ValidationError

from roughfed.config.conflicts import federation_conflicts
from roughfed.config.trainer import TrainerSettings
from roughfed.errors import ConfigError, RoughfedError, RoundError
from roughfed.files import disk_errors
from roughfed.measures import pooled
from roughfed.params import model_header
from roughfed.server import contributing
from roughfed.server.above import Above, Carried, Order, Withdrawn
from roughfed.server.accounts import catch_up
from roughfed.server.admission import MAX_EXAMPLES
from roughfed.server.aggregate.weights import examples
from roughfed.server.facts import FEWEST, Shape, check_shape
from roughfed.server.federation import Federation
from roughfed.server.figures import accepted_updates, complete_summary
from roughfed.server.lineage import Version
from roughfed.server.masked import drive
from roughfed.server.orders import begun, made, sum_path, take
from roughfed.server.quality import Quality, counted
from roughfed.server.rolled_back import settle
from roughfed.server.round import abandon, run_round
from roughfed.server.run import evaluate, finish, prune, ready
from roughfed.server.store import EVERYBODY, RoundRow
from roughfed.types import Evaluation
from roughfed.wire.session import decode_header
from roughfed.wire.updates import agrees

log = logging.getLogger(__name__)


GONE_S = 20.0
"""A federation above that was over, and that nobody reaches for so long, is not there any more."""


class Unfit(RoundError):
    """What the federation above asks for is nothing that an edge can give."""

    reason = "edge"


class Nothing(RoundError):
    """The round here brought no sum."""

    reason = "edge-round"


async def run_orders(fed: Federation, above: Above) -> str:
    """Play a round for each order, until the federation above is done.

    Returns:
        why it is over.

    Raises:
        RoughfedError: the federation above refuses for good.
    """
    await settle(fed)
    await complete_summary(fed)
    contributing.begin(fed)
    await catch_up(fed)
    quality, evaluation, began = Quality(fed.store), None, fed.clock()
    fed.enter("waiting")
    while isinstance(order := await next_order(fed, above, began + GONE_S), Order):
        if fed.store.finished() is not None:
            await fed.store.set_finished(None)  # it goes on above
        found = await answer(fed, order)
        above.answer(order, found)
        fed.order = None
        fed.enter("waiting")
        if isinstance(found, Carried):
            if evaluation is not None:
                await evaluation
            evaluation = asyncio.create_task(evaluate(fed))
        prune(fed, quality)  # also the model of an order that nothing came of
    if evaluation is not None:
        await evaluation
    await leave_others(fed, None)  # the federation above went on, and ended, while this process was away
    await contributing.settle(fed)
    await catch_up(fed)
    await finish(fed, order)
    log.info("the federation above is done (%s), and so is this run", order)
    return order


async def next_order(fed: Federation, above: Above, until: float) -> Order | str:
    """The next order, or why none will come.

    Args:
        fed: the federation.
        above: whose orders these are.
        until: a server whose run was over before it was killed waits so long (by the clock of rounds) for somebody to
            answer above: the server there may have ended long ago, and the clients here have to hear of it.

    Raises:
        RoughfedError: the federation above refuses for good.
    """
    while (reason := above.over()) is None:
        if (order := above.wanted()) is not None:
            return order
        if fed.stopping:
            raise asyncio.CancelledError
        known = None if above.met() else fed.store.finished()
        if known is not None and fed.clock() >= until:
            return known
        await fed.sleep_until_change(None if known is None else until)
    return reason


async def answer(fed: Federation, order: Order) -> Carried | RoundError:
    """The sum of one round, or why there is none."""
    fed.order = order
    try:
        base = begun(fed.store, order)
        if base is not None and (known := carried(fed, base)) is not None:
            return known  # it was given before this process, or the client of the federation above, was killed
        check_model(fed, order)
        take_settings(fed, order)
        await leave_others(fed, base)
        base = await take(fed.store, order)
        if not await ready(fed, fed.clock() + fed.in_time(math.inf)):
            why = "paused" if fed.paused else fed.config.waiting(len(fed.able_names()))
            log.warning("no round could begin in time: %s", why)  # how many clients are here is not told above
            raise Nothing("the time is up, and no round could begin")
        fed.check_order()
        row = await run_round(fed)
        await catch_up(fed)
        if row.outcome == "committed" and (found := carried(fed, base)) is not None:
            return found
        fed.check_order()  # withdrawn, or else:
        raise Nothing(f"round {row.round} here was abandoned")
    except RoundError as error:
        log.warning("no sum for round %d of %s: %s", order.round, order.run, error)
        return error


def check_model(fed: Federation, order: Order) -> None:
    """Are there the same tensors above and here?

    Raises:
        ConfigError: no. StorageError: the disk refused.
    """
    wanted = model_header(fed.spec)
    with disk_errors(f"read {order.params}"), order.params.open("rb") as file:
        if file.read(len(wanted)) == wanted:
            return
    raise ConfigError(
        f"what is trained in {order.run} has other tensors than what is trained here",
        key="model.private",
        cure="say in the fed.toml of this edge what the federation above says of it, and start with an empty directory",
    )


def take_settings(fed: Federation, order: Order) -> None:
    """Hand the learning settings of the federation above to the clients here.

    Raises:
        Unfit: they cannot be read, ask for what an edge has not, or cannot stand beside its own settings.
    """
    try:
        trainer = TrainerSettings.model_validate(dict(order.settings))
        check_shape(trainer, Shape.of(fed.spec, fed.num_classes))
    except (ValidationError, RoughfedError) as error:
        raise Unfit(f"the learning settings of {order.run} cannot be followed here: {_said(error)}") from None
    if trainer.calibrate != "none":  # sums of features or gradients of an edge would go nowhere: none are asked for
        trainer = trainer.model_copy(update={"calibrate": "none"})
    if trainer.scaffold:
        raise Unfit('"scaffold" keeps a control variate at one server; an edge has none: use "fedprox" above')
    settings = fed.config.round.model_copy(update={"rounds": order.planned})
    if (trainer, settings) == (fed.config.trainer, fed.config.round):
        return
    config = fed.config.model_copy(update={"trainer": trainer, "round": settings})
    before = {problem.cause for problem in federation_conflicts(fed.config)}
    if wrong := [each.cause for each in federation_conflicts(config) if each.cause not in before]:
        raise Unfit(f"the learning settings of {order.run} do not fit what this edge sets itself: {' '.join(wrong)}")
    log.info("learning settings and number of rounds are those of %s", order.run)
    fed.config = config


async def leave_others(fed: Federation, base: Version | None) -> None:
    """Give up a round that is open for another order: nobody waits for it any more."""
    last = fed.store.last_round()
    if last is None or last.outcome is not None:
        return
    header = decode_header(last.header.body)
    if base is None or header.model_version != base.version:
        fed.row, fed.masked = last, drive.begin(fed, last) if header.masked else None
        await abandon(fed, last, Withdrawn.reason)


def carried(fed: Federation, base: Version) -> Carried | None:
    """What goes up of the round that was committed on an order's model; None where there is nothing (any more)."""
    version = made(fed.store, base)
    if version is None or not (path := sum_path(fed.store, version.version)).exists():
        return None
    (row, *_) = fed.store.rounds(after=fed.store.lineage.round_of(version.version) - 1)
    summary = dict(row.summary or {})
    metrics = summary.get("train_metrics")
    statements = [update.statement for update in accepted_updates(fed, row)]
    alike = fed.config.aggregate.weighting_of(decode_header(row.header.body).server_sees) == "uniform"
    clients = len(row.accepted)
    return Carried(
        delta=path,
        weight=clients if alike else min(MAX_EXAMPLES, max(1, round(sum(examples(statements))))),
        clients=clients,
        num_steps=round(sum(s.num_steps for s in statements) / max(1, clients)),
        metrics=dict(metrics) if isinstance(metrics, dict) else {},
        seconds=_seconds(row),
        class_counts=told_counts(fed),
        evaluation=told_evaluation(fed, row, base.version),
    )


def told_counts(fed: Federation) -> tuple[int, ...]:
    """Training examples of each class here, of clients four by four; () before the first four.

    A fifth one alone would be the difference to what was told before. Behind masks no source has fewer than four.
    """
    told = [each for each in fed.store.statics() if "class-count" in each]
    if not fed.config.privacy.masked:
        told = told[: len(told) // FEWEST * FEWEST]
    return tuple(counted(told))


def told_evaluation(fed: Federation, row: RoundRow, version: int) -> Evaluation | None:
    """What the clients found about a version, all together; None where fewer than four did."""
    if decode_header(row.header.body).masked:
        together = fed.store.evaluations(version, source=EVERYBODY).get(EVERYBODY)
    else:
        found = [each for source, each in fed.store.evaluations(version).items() if source and each.num_examples]
        together = pooled(found) if len(found) >= FEWEST else None
    return None if together is None else sayable(together)


def _said(error: ValidationError | RoughfedError) -> str:
    if isinstance(error, RoughfedError):
        return str(error)
    return "; ".join(f"trainer.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())


def sayable(evaluation: Evaluation) -> Evaluation | None:
    """An evaluation of many clients, without what contradicts the rest: not everybody gives all of it.

    None where even the number of examples is beyond belief: one client can claim that much, and the sum would be
    refused above with such a word.
    """
    bare = replace(evaluation, calibration=())
    plain = replace(bare, class_count=(), class_correct=(), confusion=())
    return next((each for each in (evaluation, bare, plain) if agrees(each)), None)


def _seconds(row: RoundRow) -> float:
    return max(0.0, (row.closed_at or time.time()) - row.opened_at)  # clocks are set back, too
