"""With `server_sees = "sums"`: the groups as rows for the defence, and the mean update that follows from its verdict.

Whoever is in a group that is left out is told the reason; a group's statistics count as its sum does.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager

from roughfed.codec import CHAIN
from roughfed.crypto.masks import Lanes
from roughfed.errors import LocalProtocolError
from roughfed.server.aggregate.robust import combined
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.masked.group_sums import Apart, row_name
from roughfed.server.masked.merging import merged_sums
from roughfed.server.masked.outcome import GroupResult, Result, settle, unmask
from roughfed.server.masked.stages import MaskedRound
from roughfed.server.round.updates import reference_updates
from roughfed.server.round.verdict import judge_views
from roughfed.server.storage.slices import Mean
from roughfed.server.uploads.spool import opened


async def unmasked(
    ctx: ServerContext, round_: RoundState, machine: MaskedRound, read: Callable[[str], Lanes]
) -> Result:
    """What the groups give, without those that the defence leaves out; after a restart, the same again.

    Args:
        ctx: the server.
        round_: the round.
        machine: of the round, all answers taken.
        read: name -> masked lanes.

    Raises:
        TooFewClients: too few groups for so many attackers, any of whom may have spoilt another one.
    """
    judged = not machine.sketches and ctx.defence.name != "none"  # else by sketches already, or nobody is
    if not judged and not ctx.extensions.wants_groups:
        result, parts = await asyncio.to_thread(unmask, machine, read, time=ctx.work.time)
        return settle(result, parts, machine)
    folder = ctx.store.folder / "spool"
    apart = [Apart(folder, one.masking, ctx.work) for one in machine.tiers]
    with ExitStack() as kept:
        for one in apart:
            kept.callback(one.discard)
        result, parts = await asyncio.to_thread(unmask, machine, read, apart, time=ctx.work.time)
        excluded: dict[int, str] = {}
        if parts and judged:
            excluded = await _judged(ctx, round_, result, parts, apart)
        settle(result, parts, machine, excluded)
        for place, one in enumerate(result.tiers):
            one.apart = apart[place]
            if one.combine is None:
                numbers = [p.number for p in parts if p.tier == place and p.number not in excluded]
                one.total = await asyncio.to_thread(apart[place].total, numbers)
        kept.pop_all()
    return result


async def _judged(
    ctx: ServerContext, round_: RoundState, result: Result, parts: Sequence[GroupResult], apart: Sequence[Apart]
) -> dict[int, str]:
    """Number of a group -> why the defence leaves it out; notes the verdict, and how means become one."""
    own = await reference_updates.ready(ctx, round_)
    places = {one.masking.tier: place for place, one in enumerate(result.tiers)}
    views = {name: apart[place].view(own) for name, place in places.items() if apart[place].means}
    clients = {name: apart[places[name]].clients for name in views}
    verdict = await judge_views(ctx, round_, views, clients=clients)
    numbers = {row_name(part.number): part for part in parts}
    excluded = {numbers[name].number: why for name, why in verdict.excluded.items()}
    left_out = {name: excluded[p.number] for p in parts if p.number in excluded for name in p.accepted}
    round_.verdict = dataclasses.replace(verdict, excluded=left_out)
    if len(views) == 1:
        result.tiers[places[next(iter(views))]].combine = verdict.combine
    return excluded


@contextmanager
def mean_of_groups(ctx: ServerContext, round_: RoundState) -> Generator[Mean]:
    """The mean update of a masked round, to be read slice by slice.

    Raises:
        LocalProtocolError: the round is not unmasked.
    """
    if (result := round_.result) is None:
        raise LocalProtocolError("a mean before the groups are unmasked")
    single = result.tiers[0] if len(result.tiers) == 1 else None
    if single is None or single.combine is None or single.apart is None:
        with ctx.work.time("decode", CHAIN):
            mean = merged_sums(result.tiers, ctx.spec.size)
        yield mean
        return
    with ExitStack() as stack:
        files = single.apart.means | round_.references.files
        rows = {
            name: stack.enter_context(opened(path, codec="identity", size=ctx.spec.size))
            for name, path in files.items()
        }
        yield combined(single.combine, rows)
