"""With `server_sees = "sums"`: the groups as rows for the defence, and the mean update that follows from its verdict.

Whoever is in a group that is left out is told the reason; a group's statistics count as its sum does.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from roughfed.crypto.masks import Lanes
from roughfed.server import extras
from roughfed.server.aggregate.mean import Mean
from roughfed.server.masked.apart import Apart, row_name
from roughfed.server.masked.outcome import Result, mean_update, settle, unmask
from roughfed.server.masked.stages import MaskedRound
from roughfed.server.robust import combined
from roughfed.server.spool import opened
from roughfed.server.store import RoundRow
from roughfed.server.verdicts import found

if TYPE_CHECKING:
    from roughfed.server.federation import Federation


async def unmasked(fed: Federation, row: RoundRow, round_: MaskedRound, read: Callable[[str], Lanes]) -> Result:
    """What the groups give, without those that the defence leaves out; after a restart, the same again.

    Args:
        fed: the federation.
        row: the round.
        round_: its machine, all answers taken.
        read: name -> masked lanes.

    Raises:
        TooFewClients: too few groups for so many attackers, any of whom may have spoilt another one.
    """
    if round_.masking.terms.dim or fed.defence.name == "none":  # judged by sketches already, or nobody is
        result, parts = await asyncio.to_thread(unmask, round_, read)
        return settle(result, parts, round_)
    apart = Apart(fed.store.folder / "spool", round_.masking)
    with ExitStack() as kept:
        kept.callback(apart.discard)
        result, parts = await asyncio.to_thread(unmask, round_, read, apart)
        result.apart = apart
        excluded: dict[int, str] = {}
        if parts:
            verdict = await found(fed, apart.view(await extras.ready(fed, row)), row.round, clients=apart.clients)
            numbers = {row_name(part.number): part for part in parts}
            excluded = {numbers[name].number: why for name, why in verdict.excluded.items()}
            clients = {name: excluded[p.number] for p in parts if p.number in excluded for name in p.accepted}
            fed.verdict = dataclasses.replace(verdict, excluded=clients)
            result.combine = verdict.combine
        settle(result, parts, round_, excluded)
        if result.combine is None:
            result.total = await asyncio.to_thread(
                apart.total, [part.number for part in parts if part.number not in excluded]
            )
        kept.pop_all()
    return result


@contextmanager
def mean_of_groups(fed: Federation, round_: MaskedRound, result: Result) -> Iterator[Mean]:
    """The mean update of a masked round, to be read slice by slice."""
    if result.combine is None or result.apart is None:
        delta = mean_update(result, round_.masking)  # [D]
        yield lambda start, stop: delta[start:stop]
        return
    with ExitStack() as stack:
        files = result.apart.means | fed.extras.files
        rows = {
            name: stack.enter_context(opened(path, codec="identity", size=fed.spec.size))
            for name, path in files.items()
        }
        yield combined(result.combine, rows)
