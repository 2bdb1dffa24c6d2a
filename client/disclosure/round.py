"""One round in the disclosure record: what is held against it, and noted of it, before anything of it is shown."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from roughfed.client.disclosure import limits as rule
from roughfed.client.disclosure.record import DisclosureRecord, Earlier
from roughfed.client.policy import Rules
from roughfed.messages import ServerStage
from roughfed.secagg import messages as m
from roughfed.types import RoundHeader
from roughfed.wire.secagg import decode_stage


async def admit_model(
    disclosed: DisclosureRecord, header: RoundHeader, fingerprint: NDArray[np.float64], *, most: int
) -> bool:
    """Hold a masked round's model against those of earlier rounds, and record it before it is trained.

    Args:
        disclosed: of this client.
        header: of the round.
        fingerprint: of its model.
        most: rounds that this client answers on one model.

    Returns:
        whether the model is that of an earlier round; the training then draws its examples with replacement.

    Raises:
        RemoteProtocolError: reason "policy"; this client has answered as many rounds on this model as it does.
    """
    near = len(_near(disclosed.earlier(header, fingerprint), header))
    rule.check_model(near, most=most)
    await disclosed.record_model(header, fingerprint)
    return near > 0


def _near(earlier: Iterable[Earlier], header: RoundHeader) -> list[Earlier]:
    """Those on this round's model."""
    return [each for each in earlier if rule.is_close(each.distance, max(header.clip_norm, each.scale))]


async def admit_stage(disclosed: DisclosureRecord, header: RoundHeader, message: ServerStage, rules: Rules) -> None:
    """Hold a stage of a masked round against the record, and record what its answer shows.

    Raises:
        RemoteProtocolError: reason "policy", "difference"; this client does not answer.
    """
    match message.kind:
        case "roster":
            roster = decode_stage(m.Roster, message.body)
            rule.check_levels(header.levels, len(roster.adverts), most=rules.policy.max_levels)
        case "sets":
            sets = decode_stage(m.Sets, message.body)
            accepted, dealers = rule.members_of(sets.accepted), len(sets.accepted) + len(sets.excluded)
            earlier = [each.accepted for each in _near(disclosed.earlier(header), header)]
            rule.check_sets(accepted, earlier, dealers=dealers, most=rules.policy.max_differences)
            await disclosed.record_sum(header, accepted)
        case "seed":
            await disclosed.record_numbers(header)
        case _:
            pass
