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
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import cast

from pydantic import ValidationError

from roughfed.config.conflicts import federation_conflicts
from roughfed.config.trainer import TrainerSettings
from roughfed.errors import ConfigError, RoughfedError, RoundError
from roughfed.files import disk_errors
from roughfed.measures import pooled
from roughfed.params import model_header
from roughfed.server.aggregate.weights import examples
from roughfed.server.cohort.statistics import FEWEST, Facts, Shape, check_shape
from roughfed.server.context.extension import IN_TIME, Extension
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.extensions.edge.upstream import Above, Carried, Order, Withdrawn
from roughfed.server.extensions.edge.upstream_rounds import begun, made, sum_path, take, written_down
from roughfed.server.model.retention import Quality, counted
from roughfed.server.round.engine import abandon, run_round, updates_of
from roughfed.server.round.run import begin, evaluate, finish, prune, ready
from roughfed.server.round.updates.interface import accepted_updates
from roughfed.server.storage.lineage import Version
from roughfed.server.storage.slices import Mean
from roughfed.server.storage.store import EVERYBODY, RoundRow
from roughfed.server.uploads.admission import MAX_EXAMPLES
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


class EdgeExtension(Extension):
    """The rounds of an edge are for orders of the federation above."""

    def __init__(self, ctx: ServerContext, above: Above) -> None:
        """No order is open."""
        self._ctx, self._above = ctx, above
        self._order: Order | None = None
        above.on_change = ctx.state.wake

    async def prepare(self) -> None:
        """A model from above is handed on as it is: no step from the one before leads to it."""
        config = self._ctx.config
        codec = config.codec.model_copy(update={"downlink": "identity"})
        self._ctx.settings.config = config.model_copy(update={"codec": codec})

    # -- in the rounds ------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether no order is open."""
        return self._order is None

    def facts(self, number: int, cluster: str) -> Facts:
        """What is known above is known of more clients."""
        del number, cluster
        if (order := self._order) is None:
            return {}
        return {name: tuple(values) for name, values in order.facts.items()} | order.turn

    def in_time(self, seconds: float, share: float = IN_TIME) -> float:
        """A share of what is left of the round above: the sum has a way to go."""
        if self._order is None:
            return seconds
        return max(0.0, min(seconds, share * (self._order.until - self._ctx.state.clock())))

    def check(self) -> None:
        """Is the sum of the open round still wanted?

        Raises:
            Withdrawn: no.
        """
        if self._order is not None and self._above.wanted() is not self._order:
            raise Withdrawn(f"round {self._order.round} of {self._order.run} went on without this edge")

    def on_mean(self, round_: RoundState, version: int, mean: Mean) -> AbstractContextManager[Mean]:
        """What goes up is the mean itself: the version made of it is rounded once more."""
        del round_
        return nullcontext(mean) if self._order is None else written_down(self._ctx.store, version, mean)

    def status(self) -> Mapping[str, object]:
        """Of the federation above."""
        return {"upstream": self._above.state()}

    # -- orders -------------------------------------------------------------------------------------------------------

    runs = True

    async def run(self) -> str:
        """Play a round for each order, until the federation above is done.

        Returns:
            why it is over.

        Raises:
            RoughfedError: the federation above refuses for good.
        """
        await begin(self._ctx)
        quality, evaluation, began = Quality(self._ctx.store), None, self._ctx.state.clock()
        self._ctx.state.enter("waiting")
        while isinstance(order := await self._next_order(began + GONE_S), Order):
            if self._ctx.store.finished() is not None:
                await self._ctx.store.set_finished(None)  # it goes on above
            found = await self.answer(order)
            self._above.answer(order, found)
            self._order = None
            self._ctx.state.enter("waiting")
            if isinstance(found, Carried):
                if evaluation is not None:
                    await evaluation
                evaluation = asyncio.create_task(evaluate(self._ctx))
            prune(self._ctx, quality)  # also the model of an order that nothing came of
        if evaluation is not None:
            await evaluation
        await self._leave_others(None)  # the federation above went on, and ended, while this process was away
        await self._ctx.extensions.finish()
        await self._ctx.extensions.catch_up()
        await finish(self._ctx, order)
        log.info("the federation above is done (%s), and so is this run", order)
        return order

    async def _next_order(self, until: float) -> Order | str:
        """The next order, or why none will come.

        Args:
            until: a server whose run was over before it was killed waits so long (by the clock of rounds) for somebody
                to answer above: the server there may have ended long ago, and the clients here have to hear of it.

        Raises:
            RoughfedError: the federation above refuses for good.
        """
        while (reason := self._above.over()) is None:
            if (order := self._above.wanted()) is not None:
                return order
            if self._ctx.state.stopping:
                raise asyncio.CancelledError
            known = None if self._above.met() else self._ctx.store.finished()
            if known is not None and self._ctx.state.clock() >= until:
                return known
            await self._ctx.state.sleep_until_change(None if known is None else until)
        return reason

    async def answer(self, order: Order) -> Carried | RoundError:
        """The sum of one round, or why there is none."""
        self._order = order
        try:
            base = begun(self._ctx.store, order)
            if base is not None and (known := carried(self._ctx, base)) is not None:
                return known  # it was given before this process, or the client of the federation above, was killed
            check_model(self._ctx, order)
            take_settings(self._ctx, order)
            await self._leave_others(base)
            base = await take(self._ctx.store, order)
            if not await ready(self._ctx, self._ctx.state.clock() + self.in_time(math.inf)):
                why = "paused" if self._ctx.state.paused else self._ctx.config.waiting(len(self._ctx.clients.able()))
                log.warning("no round could begin in time: %s", why)  # how many clients are here is not told above
                raise Nothing("the time is up, and no round could begin")
            self.check()
            row = await run_round(self._ctx)
            await self._ctx.extensions.catch_up()
            if row.outcome == "committed" and (found := carried(self._ctx, base)) is not None:
                return found
            self.check()  # withdrawn, or else:
            raise Nothing(f"round {row.round} here was abandoned")
        except RoundError as error:
            log.warning("no sum for round %d of %s: %s", order.round, order.run, error)
            return error

    async def _leave_others(self, base: Version | None) -> None:
        """Give up a round that is open for another order: nobody waits for it any more."""
        last = self._ctx.store.last_round()
        if last is None or last.outcome is not None:
            return
        header = decode_header(last.header.body)
        if base is None or header.model_version != base.version:
            self._ctx.state.round = round_ = RoundState(last)
            await abandon(self._ctx, round_, updates_of(self._ctx, round_), Withdrawn.reason)


def check_model(ctx: ServerContext, order: Order) -> None:
    """Are there the same tensors above and here?

    Raises:
        ConfigError: no. StorageError: the disk refused.
    """
    wanted = model_header(ctx.spec)
    with disk_errors(f"read {order.params}"), order.params.open("rb") as file:
        if file.read(len(wanted)) == wanted:
            return
    raise ConfigError(
        f"what is trained in {order.run} has other tensors than what is trained here",
        key="model.private",
        cure="say in the fed.toml of this edge what the federation above says of it, and start with an empty directory",
    )


def take_settings(ctx: ServerContext, order: Order) -> None:
    """Hand the learning settings of the federation above to the clients here.

    Raises:
        Unfit: they cannot be read, ask for what an edge has not, or cannot stand beside its own settings.
    """
    try:
        trainer = TrainerSettings.model_validate(dict(order.settings))
        check_shape(trainer, Shape.of(ctx.spec, ctx.num_classes))
    except (ValidationError, RoughfedError) as error:
        raise Unfit(f"the learning settings of {order.run} cannot be followed here: {_said(error)}") from None
    if trainer.calibrate != "none":  # sums of features or gradients of an edge would go nowhere: none are asked for
        trainer = trainer.model_copy(update={"calibrate": "none"})
    if trainer.scaffold:
        raise Unfit('"scaffold" keeps a control variate at one server; an edge has none: use "fedprox" above')
    settings = ctx.config.round.model_copy(update={"rounds": order.planned})
    if (trainer, settings) == (ctx.config.trainer, ctx.config.round):
        return
    config = ctx.config.model_copy(update={"trainer": trainer, "round": settings})
    before = {problem.cause for problem in federation_conflicts(ctx.config)}
    if wrong := [each.cause for each in federation_conflicts(config) if each.cause not in before]:
        raise Unfit(f"the learning settings of {order.run} do not fit what this edge sets itself: {' '.join(wrong)}")
    log.info("learning settings and number of rounds are those of %s", order.run)
    ctx.settings.config = config


def carried(ctx: ServerContext, base: Version) -> Carried | None:
    """What goes up of the round that was committed on an order's model; None where there is nothing (any more)."""
    version = made(ctx.store, base)
    if version is None or not (path := sum_path(ctx.store, version.version)).exists():
        return None
    number = ctx.store.lineage.round_of(version.version)
    (row,) = ctx.store.rounds(after=number - 1, until=number)
    summary = dict(row.summary or {})
    metrics = summary.get("train_metrics")
    statements = [update.statement for update in accepted_updates(ctx, RoundState(row))]
    alike = ctx.config.aggregate.weighting_of(decode_header(row.header.body).server_sees) == "uniform"
    clients = len(row.accepted)
    return Carried(
        delta=path,
        weight=clients if alike else min(MAX_EXAMPLES, max(1, round(sum(examples(statements))))),
        clients=clients,
        num_steps=round(sum(s.num_steps for s in statements) / max(1, clients)),
        metrics=dict(cast("Mapping[str, float]", metrics)) if isinstance(metrics, dict) else {},
        seconds=_seconds(row),
        class_counts=told_counts(ctx),
        evaluation=told_evaluation(ctx, row, base.version),
    )


def told_counts(ctx: ServerContext) -> tuple[int, ...]:
    """Training examples of each class here, of clients four by four; () before the first four.

    A fifth one alone would be the difference to what was told before. Behind masks no source has fewer than four.
    """
    told = [each for each in ctx.store.statics() if "class-count" in each]
    if not ctx.config.privacy.masked:
        told = told[: len(told) // FEWEST * FEWEST]
    return tuple(counted(told))


def told_evaluation(ctx: ServerContext, row: RoundRow, version: int) -> Evaluation | None:
    """What the clients found about a version, all together; None where fewer than four did."""
    if decode_header(row.header.body).masked:
        together = ctx.store.evaluations(version, source=EVERYBODY).get(EVERYBODY)
    else:
        found = [each for source, each in ctx.store.evaluations(version).items() if source and each.num_examples]
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
