"""One round in the ledger of disclosure: what is held against it, and noted of it, before anything of it is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from roughfed.client import disclosure as rule
from roughfed.client.own_secret import fingerprint
from roughfed.messages import ServerStage
from roughfed.secagg import messages as m
from roughfed.types import RoundHeader
from roughfed.wire.secagg import decode_stage

if TYPE_CHECKING:
    from roughfed.client.disclosure_ledger import Earlier
    from roughfed.client.session import Membership


async def note_model(me: Membership, header: RoundHeader, params: Path) -> bool:
    """Hold a masked round's model against those of earlier rounds, and note it before it is trained.

    Returns:
        whether the model is that of an earlier round; the training then draws its examples with replacement.

    Raises:
        RemoteProtocolError: reason "policy"; this client has answered as many rounds on this model as it does.
    """
    own = await asyncio.to_thread(fingerprint, params, me.own)
    near = len(_near(me.ledger.earlier(header, own), header))
    rule.check_model(near, most=me.rules.policy.max_model_rounds)
    await me.ledger.note_model(header, own)
    return near > 0


def _near(earlier: Iterable[Earlier], header: RoundHeader) -> list[Earlier]:
    """Those on this round's model."""
    return [each for each in earlier if rule.is_close(each.distance, max(header.clip_norm, each.scale))]


async def note_clear(me: Membership, header: RoundHeader) -> None:
    """Note a round whose update the server sees."""
    await me.ledger.note_model(header)


async def note_stage(me: Membership, header: RoundHeader, message: ServerStage) -> None:
    """Hold a stage of a masked round against the ledger, and note what its answer shows.

    Raises:
        RemoteProtocolError: reason "policy", "difference"; this client does not answer.
    """
    ledger = me.ledger
    match message.kind:
        case "roster":
            roster = decode_stage(m.Roster, message.body)
            rule.check_levels(header.levels, len(roster.adverts), most=me.rules.policy.max_levels)
        case "sets":
            sets = decode_stage(m.Sets, message.body)
            accepted, dealers = rule.members_of(sets.accepted), len(sets.accepted) + len(sets.excluded)
            earlier = [each.accepted for each in _near(ledger.earlier(header), header)]
            rule.check_sets(accepted, earlier, dealers=dealers, most=me.rules.policy.max_differences)
            await ledger.note_sum(header, accepted)
        case "seed":
            await ledger.note_numbers(header)
        case _:
            pass


def tell_metrics(me: Membership) -> None:
    """Set the gauges by what has left."""
    totals = me.ledger.totals()
    me.metrics.disclosed(totals, rule.lines_of(totals, me.rules))
