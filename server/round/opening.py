"""The opening of a round: who is asked, under which header; journaled before anybody is told."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from roughfed import crash
from roughfed.cohort_order import draw_order
from roughfed.crypto.merkle import merkle_root
from roughfed.server.cohort.sampling import Order, able
from roughfed.server.cohort.tiers import TierAssignment, assign_tiers, drawn, plaintext_tiers
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.masked.opening import open_masked
from roughfed.server.round.header import check_terms, facts_for, make_header, statistics_of
from roughfed.server.round.jobs import closed_as
from roughfed.server.storage.rollback import follow
from roughfed.server.storage.store import RoundRow

log = logging.getLogger(__name__)


async def open_round(ctx: ServerContext) -> RoundState:
    """Draw the cohort, sign the header, journal both. An open round in the journal is taken up again."""
    last = ctx.store.last_round()
    if last is not None and last.outcome is None:
        round_ = RoundState(last)
        report_opened(ctx, round_)
        ctx.state.round = round_
        return round_
    ctx.state.enter("configure")
    ctx.state.begin_round()
    settings, schedule = ctx.config.round, ctx.extensions.schedule
    cluster = schedule.turn()
    assignment = assign_tiers(ctx.config, ctx.clients.hellos(candidates(ctx, cluster)))
    last, number = await follow(ctx.store, ctx.clients.proofs(), last)
    listed_as, order = in_order(ctx, number)
    invited = settings.invited(len(assignment.tiers))
    cohort = drawn(assignment, invited=invited, seed=ctx.config.federation.seed, round_number=number, order=order)
    fields = await fields_of(ctx, number, cluster, assignment, cohort)
    facts = facts_for(ctx, number, cluster)
    header = make_header(ctx, after=last, fields={**fields, **listed_as}, facts=facts, cluster=cluster)
    if ctx.config.privacy.masked:
        check_terms(ctx, header)
    goal = settings.goal(len(assignment.tiers))
    row = RoundRow(number, header, cohort, goal, time.time(), None, None, None, facts=facts, cluster=cluster)
    await ctx.store.open_round(row)
    crash.point("round-opened")
    ctx.state.round = round_ = RoundState(row, absent_tiers=assignment.few)
    report_opened(ctx, round_)
    report_absent_tiers(ctx, round_, assignment)
    return round_


def candidates(ctx: ServerContext, cluster: str) -> list[str]:
    """Connected clients that could take part in a round of a cluster, sorted."""
    clients, schedule = ctx.clients, ctx.extensions.schedule
    listed = clients.listing.listed(clients.all())
    names = listed & {name for name in clients.names() if schedule.plays(name, cluster)} - clients.quarantined.keys()
    offered = {name: hello.codecs for name, hello in clients.hellos(names).items()}
    return able(offered, ctx.config.codec.uplink(ctx.config.privacy.server_sees))


def in_order(ctx: ServerContext, number: int) -> tuple[Mapping[str, Any], Order | None]:
    """What the header of a masked round says of the members, and the order in which it asks them."""
    if not (fields := ctx.clients.listing.fields()):
        return {}, None
    drawn_in, beacon = ctx.stages.last_drawing()
    order = draw_order(beacon or fields["members_digest"], number)
    return {**fields, "draw_round": drawn_in, "draw_beacon": beacon}, order


async def fields_of(
    ctx: ServerContext, number: int, cluster: str, assignment: TierAssignment, cohort: tuple[str, ...]
) -> Mapping[str, Any]:
    """What the header says beside the model: of a masked round also its clip norms and the commitment to its nonce."""
    root = merkle_root([s.member for name in cohort if (s := ctx.clients.get(name)) is not None])
    statistics = statistics_of(ctx, number, cluster)
    fields: Mapping[str, Any] = {"statistics": statistics, "tiers": plaintext_tiers(ctx.config, assignment, cohort)}
    if ctx.config.privacy.masked:
        sizes = Counter(assignment.tiers[name] for name in cohort)
        fields = await open_masked(
            ctx.stages, number, cohort=sizes, config=ctx.config, num_classes=ctx.num_classes, asked=statistics
        )
    deadline_s = ctx.extensions.in_time(ctx.config.round.deadline)
    return {**fields, "round": number, "roster_root": root, "deadline_s": deadline_s}


def report_opened(ctx: ServerContext, round_: RoundState) -> None:
    """The metrics of a round that is opened, or taken up after a restart: its time begins anew then."""
    row = round_.row
    gone = max(0.0, time.time() - row.opened_at) if taken_up(ctx, row) else 0.0
    ctx.metrics.round_opened(row.round, row.opened_at, gone + round_.header.deadline_s)
    ctx.metrics.participants("configure", len(row.cohort))


def taken_up(ctx: ServerContext, row: RoundRow) -> bool:
    """Whether an earlier process opened the round."""
    return row.opened_at < ctx.state.started_at


def report_absent_tiers(ctx: ServerContext, round_: RoundState, assignment: TierAssignment) -> None:
    """Say to whoever takes no part why; it trains nothing."""
    for name, why in assignment.few.items():
        log.warning("round %d: %s", round_.number, why if name else f"{why}; they are not asked")
    for client, why in assignment.standing.items():
        if (session := ctx.clients.get(client)) is not None:
            session.send(closed_as(ctx, round_.row, "open", "absent", why[:100]))
