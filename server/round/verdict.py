"""What the defence says of the rows of a round: timed, shown in the metrics, and journaled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

from roughfed import crash
from roughfed.errors import TooFewClients
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.defence import Verdict, View
from roughfed.server.defence.findings import state_of, together, weights_of
from roughfed.server.masked.tier_round import TOO_FEW


async def judge_views(
    ctx: ServerContext,
    round_: RoundState,
    views: Mapping[str, View],
    *,
    clients: Mapping[str, int] | None = None,
) -> Verdict:
    """The rule's verdict over the rows of a round.

    Where clients are of several tiers, each is judged by itself, since their rows do not compare. A tier that has
    become too small for the rule is left out; the others go on.

    Args:
        ctx: the server.
        round_: the round.
        views: the rows, by tier.
        clients: behind the rows of each tier, where rows are groups of them; any of them may be hostile, each in
            another group.

    Returns:
        one verdict over all rows.

    Raises:
        TooFewClients: every tier is too small.
    """
    verdicts: dict[str, Verdict] = {}
    short: TooFewClients | None = None
    judged = tolerated = 0
    for name, view in views.items():
        whole = ctx.defence.situation(round_.number, len(view) if clients is None else clients[name])
        situation = replace(whole, state=state_of(whole.state, name))
        judged, tolerated = judged + len(view), tolerated + situation.f
        began = time.perf_counter()
        try:
            verdict = verdicts[name] = await asyncio.to_thread(ctx.defence.judge, view, situation)
        except TooFewClients as error:
            short, verdicts[name] = error, Verdict(excluded=dict.fromkeys(view.names, TOO_FEW))
            continue
        ctx.metrics.defended(
            ctx.defence.name,
            time.perf_counter() - began,
            rows=len(view),
            tolerated=situation.f,
            scores=verdict.scores,
            weights=weights_of(verdict),
        )
    if short is not None and all(len(verdict.excluded) == len(views[name]) for name, verdict in verdicts.items()):
        raise short
    found = together(verdicts)
    ctx.defence.memory.keep(round_.number, found, judged=judged, tolerated=tolerated)
    crash.point("defence-noted")
    return found
